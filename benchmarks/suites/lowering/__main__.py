"""`python benchmarks/suites/lowering`"""

from benchmarks.suites.lowering.cli import main

if __name__ == "__main__":
    main(prog_name="python benchmarks/suites/lowering")
