"""`python -m pamc.cli`."""

from pamc.cli import main

main()
