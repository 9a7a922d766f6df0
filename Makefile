# The project's commands. CI calls these and nothing else.
#
#   make demo    environment, demo dataset, one real run on it, its scores, its report
#   make test    environment and the tests (those marked slow, gpu, weights, container, cluster left out)
#   make help    the rest
#
# A GPU:        make demo TORCH_INDEX=https://download.pytorch.org/whl/cu130
# Another env:  make test VENV=/tmp/venv PYTHON=python3.12

PYTHON ?= python3
VENV ?= .venv
DEMO ?= demo
IMAGE ?= bids_sr:latest
BASE ?= python:3.11-slim-bookworm
CONTAINER_ENGINE ?= docker
TEST_PROCESSES ?= 2
export TORCH_INDEX

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip
REQUIREMENTS := pyproject.toml requirements/constraints.txt requirements/install_torch.sh
# PATHS: what ruff reads; mypy's list is in pyproject.toml.
PATHS := .ci bids_sr workflows tests docs container requirements boutiques $(wildcard benchmarks)

.PHONY: help demo test test-all test-container lint types structure docs site viewer-bundle build image check \
  release-check format clean
.DEFAULT_GOAL := help

help:
	@echo "make demo       environment, demo dataset, one run on it, scores, where the report is"
	@echo "make test       the tests that need no GPU, no download, no container ($(TEST_PROCESSES) processes)"
	@echo "make test-all   also those marked slow"
	@echo "make test-container  builds and runs the images with podman, docker and apptainer"
	@echo "make lint       ruff: style and format"
	@echo "make types      mypy: strict, every room"
	@echo "make structure  the floors, the package list, the wheel and the editable install"
	@echo "make docs       commands, options, files and names of code in the docs exist"
	@echo "make site       the documentation site in site/; dead links and unknown symbols are errors"
	@echo "make viewer-bundle  fetch the copy of NiiVue in the viewer again (npm), by its checksums"
	@echo "make build      source distribution and wheel into dist/"
	@echo "make image      container image $(IMAGE) with $(CONTAINER_ENGINE)"
	@echo "make check      lint types docs site build test: what CI runs, and all that it runs"
	@echo "make release-check  can a release be cut from this tree? builds, installs and tries the wheel"
	@echo "make format     let ruff rewrite the files"
	@echo "make clean      remove environments, builds and the demo"

# --- environments -------------------------------------------------------------------------

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "bids_sr needs Python 3.11 or newer; set PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "Python's venv module is needed (Debian: apt install python3-venv)" >&2; exit 1; }

$(VENV)/.installed: $(REQUIREMENTS) | $(BIN)/python
	@echo "Installing into $(VENV) (2.4 GB; a few minutes)"
	@requirements/install_torch.sh $(BIN)/python
	@$(PIP) install --quiet --constraint requirements/constraints.txt --editable ".[test]"
	@touch $@

$(VENV)/.developer: $(VENV)/.installed
	@$(PIP) install --quiet --constraint requirements/constraints.txt --editable ".[dev]"
	@touch $@

# --- first contact ------------------------------------------------------------------------

demo: $(VENV)/.installed
	$(BIN)/bids_sr-tools demo $(DEMO)
	$(BIN)/bids_sr $(DEMO)/bids $(DEMO)/out participant -w $(DEMO)/work --level full
	$(BIN)/bids_sr-tools score $(DEMO)
	@echo && echo "Reports, to open in a browser:" && ls $(abspath $(DEMO))/out/sub-*.html

test: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile \
	  -m "not slow and not gpu and not weights and not container and not cluster"

test-all: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile \
	  -m "not gpu and not weights and not container and not cluster"

# The base image other than the Dockerfile's: BASE=...
test-container: $(VENV)/.installed
	BIDS_SR_TEST_BASE=$(BASE) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m container tests/container

# --- checks -------------------------------------------------------------------------------

lint: $(VENV)/.developer
	$(BIN)/ruff check $(PATHS)
	$(BIN)/ruff format --check $(PATHS)

format: $(VENV)/.developer
	$(BIN)/ruff check --fix $(PATHS)
	$(BIN)/ruff format $(PATHS)

types: $(VENV)/.developer
	$(BIN)/mypy

structure: $(VENV)/.installed
	$(BIN)/python -m pytest -q tests/test_architecture.py tests/test_packaging.py

docs: $(VENV)/.installed
	$(BIN)/python docs/check.py

site: $(VENV)/.developer
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

viewer-bundle:
	$(PYTHON) requirements/viewer_bundle.py --fetch

build: $(VENV)/.developer
	$(BIN)/python requirements/viewer_bundle.py
	rm -rf build dist
	$(BIN)/python -m build --outdir dist .

image:
	$(CONTAINER_ENGINE) build --build-arg BASE=$(BASE) -t $(IMAGE) .

# .ci/run and CircleCI call this target; `test` has the tests of `structure` among its own.
check: lint types docs site build test

# Not part of `check`: it asks for a dated changelog entry and a clean tree.
release-check: $(VENV)/.developer
	@$(PIP) install --quiet --constraint requirements/constraints.txt --editable ".[release]"
	$(BIN)/python .ci/release_check.py

clean:
	rm -rf $(VENV) build dist site *.egg-info $(DEMO) .mypy_cache .pytest_cache .ruff_cache .hypothesis
