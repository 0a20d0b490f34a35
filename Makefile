# Needs Python 3.11 or newer, git and make; everything else is installed into .venv from the lock.
# The first interpreter that runs and is new enough (a shim may be on PATH and run nothing).
PYTHON ?= $(shell for p in python3.11 python3 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV   ?= .venv
BIN    := $(VENV)/bin

export PIP_DISABLE_PIP_VERSION_CHECK = 1

.DEFAULT_GOAL := help
.PHONY: help demo test slow conformance table parity sdks recordings contract local soak matrix \
	stress fuzz lint types floors bench package lock clean

help:  ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

# --- the environment ---------------------------------------------------------------------------
# Two stamps in one virtual environment: the demo's few packages, and everything. The lock that
# feeds the demo is a subset of the other, version for version, so either may come first.
# --no-deps: the lock is complete (`make lock` resolves it), so pip has nothing left to resolve.
install = $(BIN)/python -m pip install --quiet --no-deps
editable = $(install) --no-build-isolation --editable .

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo 'make: no Python 3.11 or newer on PATH' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: requirements/demo.txt pyproject.toml | $(BIN)/python
	@echo 'installing the demo from requirements/demo.txt into $(VENV)'
	$(install) --require-hashes -r requirements/demo.txt
	$(editable)
	@touch $@

$(VENV)/.all: requirements/lock.txt pyproject.toml | $(BIN)/python
	@echo 'installing everything from requirements/lock.txt into $(VENV)'
	$(install) --require-hashes -r requirements/lock.txt
	$(editable)
	@touch $(VENV)/.demo $@

# --- what a user runs --------------------------------------------------------------------------
demo: $(VENV)/.demo  ## a LangChain chain over recorded providers, then a small model of your own: no key
	$(BIN)/python -m crux_integrations.cli.main demo

test: $(VENV)/.all  ## the fast tests, three processes for two cores: many of them wait
	$(BIN)/python -m pytest -q -n 3 -m 'not slow' $(ARGS)

# --- what a developer runs ---------------------------------------------------------------------
slow: $(VENV)/.all  ## the tests that `make test` leaves out
	$(BIN)/python -m pytest -q -n 2 -m slow $(ARGS)

conformance: $(VENV)/.all  ## every transport and dialect against the shared suite
	$(BIN)/python -m pytest -q -m conformance $(ARGS)

table: $(VENV)/.all  ## the conformance suite as a table: scenarios by transports
	$(BIN)/python -m tests.conformance_table $(ARGS)

parity: $(VENV)/.all  ## recorded sessions through each SDK beside http
	$(BIN)/python -m tests.sdk_parity $(ARGS)

sdks: $(VENV)/.all  ## each SDK's lowest and highest version, written into docs/sdks.md
	$(BIN)/python -m tests.sdk_matrix --write docs/sdks.md $(ARGS)

recordings: $(VENV)/.all  ## per provider: recordings read, decoded, compared, differing
	$(BIN)/python -m tests.recordings_report

contract: $(VENV)/.all  ## the contract, row by row, and the tests that show each
	$(BIN)/python -m tests.contract_report $(ARGS)

local: $(VENV)/.all  ## what the model inside the process does and costs
	$(BIN)/python -m tests.local_report

soak: $(VENV)/.all  ## long load, watched for leaks
	$(BIN)/python -m tests.soak $(ARGS)

matrix: $(VENV)/.all  ## faults by policies, beside the peers
	$(BIN)/python -m tests.faults.matrix $(ARGS)

stress: $(VENV)/.all  ## many processes on one store
	$(BIN)/python -m tests.stress_persistence $(ARGS)

fuzz: $(VENV)/.all  ## damaged answers through every codec
	$(BIN)/python -m tests.fuzz

lint: $(VENV)/.all  ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.all  ## mypy, strict
	$(BIN)/mypy

floors: $(VENV)/.all  ## import-linter: imports point down
	$(BIN)/lint-imports --no-logo

bench: $(VENV)/.all  ## CPU per call beside raw httpx and ChatOpenAI
	$(BIN)/python -m benchmarks

package: $(VENV)/.all  ## build the sdist and the wheel, and check their metadata
	rm -rf dist
	$(BIN)/python -m build --no-isolation --outdir dist .
	$(BIN)/python -m twine check --strict dist/*

# Keeps the versions the files hold; `make lock ARGS=--upgrade` takes the newest that fit together.
# litellm has a lock of its own: it holds openai below 3.
compile = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-header --no-annotate --no-emit-index-url --no-emit-find-links $(ARGS) pyproject.toml
lock: $(VENV)/.all  ## resolve the lock files again
	$(compile) --extra all --extra dev --group build --group demo --group bench --group lock \
		-o requirements/lock.txt
	$(compile) --extra cli --extra cassettes --extra local --group build --group demo \
		-c requirements/lock.txt -o requirements/demo.txt
	$(compile) --extra litellm --extra test --group build -o requirements/litellm.txt

clean:  ## remove what builds and runs leave behind
	rm -rf $(VENV) build dist htmlcov .coverage .benchmarks .hypothesis
	rm -rf .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find crux_providers crux_integrations tests -name __pycache__ -type d -prune -exec rm -rf {} +
