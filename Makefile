# Two commands on a fresh machine: `make demo` and `make test`. Each sets up what it needs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
TOOLS := .venv-tools/bin

BENCHMARKS := archive masks mask-cache training replicates gradcam statistics training-sets demo-seeds report why startup \
	exports overhead tracking feeder gpu

.PHONY: help setup demo test test-slow test-faults test-cluster fuzz lint lock audit image try-image clean-demo sample-report \
	$(BENCHMARKS:%=bench-%)

help:
	@echo "make demo         set up, draw the demo data, run the whole chain, print where the report is"
	@echo "make test         set up and run the tests of every room: minutes"
	@echo "make setup        only the environment: then  . $(BIN)/activate"
	@echo "make lint         ruff, mypy and the contract of the layers"
	@echo "make lock         pin every package with its hashes again, from setup.cfg and constraints.txt"
	@echo "make audit        known holes in what is pinned, its licences (docs/licences.md), a bill of materials"
	@echo "make test-slow    whole chains, servers, browsers, processes that are killed: minutes"
	@echo "make test-faults  every kind of file damaged, every setting changed, one run each: minutes"
	@echo "make fuzz         a minute for every reader of files from outside, which must hold whatever they hold"
	@echo "make test-cluster a real daemon, PostgreSQL and Ray: minutes; skips what is not installed"
	@echo "make image        the container image, by docker, podman or buildah; make try-image runs the demo in it"
	@echo "make bench-NAME   what things cost beside their reference: $(BENCHMARKS)"
	@echo "make sample-report  docs/sample-report, docs/report.png and docs/flip.png from data/demo; pictures need chromium"
	@echo "make clean-demo   remove data/demo"

setup: $(VENV)/.installed

$(BIN)/python:
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Python 3.11 or newer is needed, this is ' + sys.version)"
	$(PYTHON) -m venv $(VENV)

# The locks hold the versions of constraints.txt, which were tested together, and the hash of every file: pip refuses any
# other. The project itself has no hash, so it follows without its requirements, built by the lock's own setuptools.
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check

$(VENV)/.installed: setup.cfg requirements.lock | $(BIN)/python
	@echo "installing: 7 GB, most of it PyTorch; minutes, in which nothing is said"
	$(PIP_INSTALL) --require-hashes -r requirements.lock
	$(PIP_INSTALL) --no-deps --no-build-isolation -e .
	$(BIN)/distracted setup
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.lock
	$(PIP_INSTALL) --require-hashes -r requirements-dev.lock
	@touch $@

demo: $(VENV)/.installed
	$(BIN)/distracted demo

# Where Python may keep no bytecode, every process rewrites all tests and compiles every module anew: twelve seconds each.
test test-slow test-faults: export PYTHONDONTWRITEBYTECODE =

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-slow: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m slow -n 2 --dist loadfile --no-loadscope-reorder

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

test-faults: $(VENV)/.installed-dev
	$(BIN)/python -m pytest distracted_pipeline_tests/test_faults.py -m faults -n 2

fuzz: $(VENV)/.installed-dev
	$(BIN)/python -m pytest distracted_pipeline_tests/fuzz/test_fuzz.py -m fuzz -s

test-cluster: $(VENV)/.installed-dev
	$(PIP_INSTALL) -c constraints.txt -e ".[dev,ray,postgres]"
	$(BIN)/python -m pytest distracted_pipeline_tests/cluster -m cluster

.venv-tools/.installed: requirements-tools.lock
	$(PYTHON) -m venv .venv-tools
	$(TOOLS)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

# One lock serves every system and Python from 3.11 on: uv writes the markers. pip wants extras named where there are hashes.
COMPILE := $(TOOLS)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-strip-extras --no-annotate \
	--no-emit-index-url --custom-compile-command "make lock"

lock: .venv-tools/.installed
	$(COMPILE) setup.cfg -c constraints.txt -o requirements.lock
	$(COMPILE) setup.cfg -c constraints.txt --extra dev -o requirements-dev.lock
	$(COMPILE) setup.cfg -c constraints.txt --extra k8s --extra postgres -o requirements-image.lock
	$(COMPILE) requirements-tools.in -o requirements-tools.lock

# pip-audit comes last, for it alone asks a service (PyPI's advisories). --strict: what it cannot look up is a failure.
audit: .venv-tools/.installed $(VENV)/.installed
	@mkdir -p build
	$(TOOLS)/cyclonedx-py environment $(BIN)/python --output-format JSON --output-file build/sbom.cdx.json
	@echo "bill of materials: build/sbom.cdx.json"
	@cp docs/licences-head.txt docs/licences.md
	$(TOOLS)/pip-licenses --python $(BIN)/python --format markdown --ignore-packages distracted_pipeline \
		| sed -E 's/ +\|/ |/g; s/-{5,}/---/g' >> docs/licences.md
	@echo "licences: docs/licences.md"
	@echo "asking PyPI's advisories for every pin of requirements.lock"
	@$(TOOLS)/pip-audit --strict --disable-pip --require-hashes -r requirements.lock || { \
		echo "not passed: a hole is listed above, or a package 'could not be audited', as when no advisories can be reached" >&2; \
		exit 1; }

image:
	deploy/k8s/try-image.sh --build-only

try-image:
	deploy/k8s/try-image.sh

# Options of one: python -m distracted_pipeline_tests.benchmarks.bench_NAME --help
$(BENCHMARKS:%=bench-%): bench-%: $(VENV)/.installed-dev
	$(BIN)/python -m distracted_pipeline_tests.benchmarks.bench_$(subst -,_,$*)

CHROMIUM := chromium --headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking \
	--disable-component-update --disable-sync --hide-scrollbars

sample-report: $(VENV)/.installed
	flip=$$($(BIN)/python -m distracted_pipeline.reports.sample --data data/demo --out docs/sample-report) && \
	$(CHROMIUM) --window-size=1280,1462 --force-device-scale-factor=0.75 --virtual-time-budget=5000 --screenshot=docs/flip.png "$$flip"
	$(CHROMIUM) --window-size=1280,840 --screenshot=docs/report.png file://$(CURDIR)/docs/sample-report/index.html

clean-demo:
	rm -rf data/demo
