"""`python benchmarks/suites/paper`"""

from benchmarks.suites.paper.cli import main

if __name__ == "__main__":
    main(prog_name="python benchmarks/suites/paper")
