"""`python benchmarks/suites/numbers`"""

from benchmarks.suites.numbers.cli import main

if __name__ == "__main__":
    main(prog_name="python benchmarks/suites/numbers")
