# Two commands do all the set-up: `make train` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

# pip prints some lines for each of its packages; these are a few, and its errors are on stderr as ever.
define SHOW_PROGRESS
/^Collecting / && ++found % 60 == 0 { print "  found " found " of about " all " packages"; fflush() }
/^ *(Downloading|Using cached) .*[kMG]B\)/ && ++there % 60 == 0 { print "  fetched " there; fflush() }
/^Installing collected packages/ { print "  unpacking, which takes a minute or more ..."; fflush() }
endef
export SHOW_PROGRESS
SHELL := /bin/bash

.DEFAULT_GOAL := help
.PHONY: help train test test-quick bench lint ui lock clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 12

# The stamp is as old as the last set-up: a changed lock or pyproject.toml sets up again.
$(VENV)/.stamp: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v=sys.version_info[:2]; ok=(3,11)<=v<=(3,13); ok or sys.exit(f"Python 3.11-3.13 is needed and {sys.executable} is {v[0]}.{v[1]}: make PYTHON=python3.12 ...")'
	@echo "Setting up $(VENV): about 3 GB and some minutes, once."
	@$(PYTHON) -m venv $(VENV)
	@set -o pipefail; $(BIN)/python -m pip install --disable-pip-version-check --progress-bar off -r requirements.lock | \
	    awk -v all=$$(grep -c '^[A-Za-z0-9]' requirements.lock) "$$SHOW_PROGRESS"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

train: $(VENV)/.stamp ## train on the embedded demo; overrides: make train ARGS="optimizer.lr=1e-3"
	@$(BIN)/python -m kesikaran.train $(ARGS)

test: $(VENV)/.stamp ## the whole test suite; a part: make test ARGS="tests/test_split.py -x"
	@$(BIN)/python -m pytest $(ARGS)

test-quick: $(VENV)/.stamp ## the tests that need neither TensorFlow nor MLflow, in seconds
	@$(BIN)/python -m pytest -m "not tensorflow" $(ARGS)

bench: $(VENV)/.stamp ## measure this machine, ten minutes; the article's size, hours: make bench ARGS="--size article"
	@$(BIN)/python scripts/benchmark.py $(ARGS)

lint: $(VENV)/.stamp ## ruff and mypy over package, scripts and tests, and the contracts between the wings
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports --no-cache --no-logo

ui: $(VENV)/.stamp ## MLflow's web page of all runs, on loopback
	@$(BIN)/mlflow ui --host 127.0.0.1 $(ARGS)

lock: ## resolve requirements.lock anew from pyproject.toml (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --extra demo --extra dev --extra openvino \
	    --extra submitit --extra ray --extra optuna --no-header \
	    --no-emit-index-url --no-emit-find-links --no-annotate pyproject.toml -o requirements.lock

clean: ## remove the environment and tool caches; runs and the feature cache stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache build dist
