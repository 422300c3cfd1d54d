# Every target works on a machine with only Python 3.11, make and git.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
STAMP := .venv/.installed

SUITES := paper-table mnist-5 fashion-4 cifar-vgg cifar-resnet
SCALE := small
SEED := 0
CASES := 10000
SCENARIOS := 300
PAIRS := 200
PLANTED := 100

.PHONY: help demo suites test runner boards device-faults campaign bench-aa lint clean

help:
	@echo "make demo   build, verify and measure the digits example"
	@echo "make suites compare methods on real images: SCALE=smoke, small or full; SUITES=..."
	@echo "make test   lint, then the tests"
	@echo "make campaign 10,000 random networks on every backend, then 1,000 planted faults: SEED=..., CASES=..."
	@echo "make boards what the tests' stand-in boards need: Debian packages, arm64 roots, adbd; once some minutes"
	@echo "make runner pamc-runner for every kind of device, to build/runner"
	@echo "make bench-aa how often pamc bench is right: 200 pairs of one network, 100 with 5 % more work: PAIRS=..., PLANTED=..."
	@echo "make device-faults 300 real faults against the stand-in boards: SEED=..., SCENARIOS=..."
	@echo "make lint   ruff, mypy, import rules"
	@echo "make clean  remove everything that make and pamc made here, .venv included"

demo: $(STAMP)
	$(BIN)/python examples/digits/demo.py

suites: $(STAMP)
	failed=; for suite in $(SUITES); do \
		$(BIN)/python benchmarks/suites/paper $$suite --scale $(SCALE) \
			|| { test $$? -ne 130 || exit 130; failed="$$failed $$suite"; }; \
		done; test -z "$$failed" || { echo "failed:$$failed" >&2; exit 1; }

test: lint boards
	$(BIN)/python -m pytest -q -n 2 -m "not campaign"

campaign: $(STAMP)
	$(BIN)/python -m tests.campaign --seed $(SEED) --cases $(CASES)
	$(BIN)/python -m tests.campaign.bite

device-faults: boards
	$(BIN)/python -m tests.devices.faults --seed $(SEED) --scenarios $(SCENARIOS)

boards: $(STAMP)
	@$(BIN)/python -m tests.boards.setup

runner: $(STAMP)
	$(BIN)/python -m pamc_devices.runner build/runner

bench-aa: $(STAMP)
	$(BIN)/python benchmarks/suites/noise --pairs $(PAIRS) --planted $(PLANTED) --seed $(SEED)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

clean:
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): pyproject.toml constraints.txt
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' \
		|| { echo "pamc needs Python 3.11: install it, or name it with make PYTHON=/path/to/python3.11" >&2; exit 1; }
	"$(PYTHON)" -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt -e '.[dev]'
	@touch $@
