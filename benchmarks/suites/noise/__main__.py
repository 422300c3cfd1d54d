"""`python benchmarks/suites/noise`"""

from benchmarks.suites.noise.cli import main

if __name__ == "__main__":
    main(prog_name="python benchmarks/suites/noise")
