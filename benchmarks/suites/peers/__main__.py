"""`python benchmarks/suites/peers`"""

from benchmarks.suites.peers.cli import main

if __name__ == "__main__":
    main(prog_name="python benchmarks/suites/peers")
