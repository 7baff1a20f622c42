# Everything a developer does, one word each; needs Python 3.11 or newer and make.
# `make` alone lists the targets.

PYTHON ?= python3
WORKERS ?= auto
# Versions for `make test-matrix`; all of them when empty.
VERSIONS ?=
# For `make chaos`: how long, and the seed of a run to replay.
SECONDS ?= 60
SEED ?=

BIN := .venv/bin
STAMP := .venv/.installed
UV_COMPILE := $(BIN)/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 \
	--generate-hashes --no-header --no-emit-index-url --no-emit-find-links

.DEFAULT_GOAL := help
.PHONY: help setup run test test-matrix e2e e2e-node chaos check format bench lock clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## create .venv and install the locked dependencies into it

$(STAMP): requirements/dev.txt pyproject.toml
	@command -v $(PYTHON) >/dev/null \
		|| { echo "There is no $(PYTHON). Install Python 3.11 or newer, or run: make PYTHON=/path/to/python"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "$(PYTHON) is $$($(PYTHON) --version), and pgbroker needs 3.11 or newer. Run: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo "$(PYTHON) cannot create virtual environments. On Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@echo "Installing into .venv ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

run: $(STAMP) ## start the broker with a PostgreSQL of its own; Ctrl-C stops both
	@exec $(BIN)/pgbroker dev

test: $(STAMP) ## run the tests
	@$(BIN)/python -m pytest -n $(WORKERS)

test-matrix: $(STAMP) ## run the PostgreSQL tests on every supported version (needs npm)
	@$(BIN)/python -m tests.matrix $(VERSIONS) -- -q -n $(WORKERS) \
		tests/integration/postgres tests/integration/test_embedded.py

e2e: $(STAMP) ## run the Kubernetes tests (needs Go, or programs in KUBEBUILDER_ASSETS)
	@$(BIN)/python -m tests.e2e.cluster.programs
	@$(BIN)/python -m pytest tests/e2e --ignore=tests/e2e/node

e2e-node: $(STAMP) ## run the chart and an application in pods (as root on Debian; says what to install)
	@$(BIN)/python -m tests.e2e.node.needs || { status=$$?; [ $$status -eq 77 ] && exit 0; exit $$status; }; \
	$(BIN)/python -m tests.e2e.cluster.programs node && \
	$(BIN)/python -m pytest tests/e2e/node

chaos: $(STAMP) ## kill, freeze and stop everything at random, then compare; SECONDS=600 SEED=...
	@$(BIN)/python -m tests.chaos --seconds $(SECONDS) --seed "$(SEED)"

check: $(STAMP) ## lint, check formatting, types and import directions
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(STAMP) ## format the code and fix what can be fixed by itself
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

bench: $(STAMP) ## measure
	@$(BIN)/python -m benchmarks

lock: $(STAMP) ## write requirements/*.txt again from pyproject.toml; UPGRADE=--upgrade for newer versions
	@$(BIN)/python -m pip install --quiet uv
	@$(UV_COMPILE) $(UPGRADE) --output-file requirements/runtime.txt
	@$(UV_COMPILE) $(UPGRADE) --constraint requirements/runtime.txt --extra dev --group test --group check --group build \
		--output-file requirements/dev.txt

clean: ## remove .venv and everything built or cached in this directory
	@rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
