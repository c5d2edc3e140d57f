# Two commands on a fresh machine: `make demo` and `make test`. Each sets up what it needs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: help setup demo test lint bench-masks clean-demo

help:
	@echo "make demo         set up, draw the demo data, run the whole chain, print where the report is"
	@echo "make test         set up and run the tests"
	@echo "make setup        only the environment: then  . $(BIN)/activate"
	@echo "make lint         ruff and mypy"
	@echo "make bench-masks  cost of a mask beside the reference implementation"
	@echo "make clean-demo   remove data/demo"

setup: $(VENV)/.installed

$(BIN)/python:
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Python 3.11 or newer is needed, this is ' + sys.version)"
	$(PYTHON) -m venv $(VENV)

# The constraints pin every version that was tested, torch and torchvision as the pair that fits.
$(VENV)/.installed: setup.cfg constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	$(BIN)/distracted setup
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

demo: $(VENV)/.installed
	$(BIN)/distracted demo

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench-masks: $(VENV)/.installed-dev
	$(BIN)/python -m distracted_pipeline_tests.benchmarks.bench_masks

clean-demo:
	rm -rf data/demo
