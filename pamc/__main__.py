"""`python -m pamc`."""

from pamc.cli import main

main()
