# Needs only Python 3.11 or newer and make. Everything lands in .venv; a second run finds it there.

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.set-up
# The first that is new enough; override with `make PYTHON=/path/to/python3.12 ...`.
PYTHON ?= $(firstword $(foreach p,python3 python3.13 python3.12 python3.11 python3.14,$(shell $(p) -c 'import sys; sys.version_info >= (3, 11) and print("$(p)")' 2>/dev/null)) python3)
# Workers for pytest: one more than two cores, since a test often waits for Kafka.
WORKERS ?= 3
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test fuzz chaos soak check format lock clean

help: ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'
	@echo "  ARGS='...' is passed on to the command (demo) or to pytest (test); PYTHON=... chooses the interpreter."

setup: $(STAMP) ## the virtual environment with the locked dependencies

demo: $(STAMP) ## the whole system on this machine, with the acknowledgement board
	@$(BIN)/noticewire demo $(ARGS)

test: $(STAMP) ## every test, on a real Kafka that it starts and stops itself
	@$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadgroup $(ARGS)

chaos: $(STAMP) ## 200 faults and more while 5,000 messages pass three Kafka nodes; ten minutes
	@NOTICEWIRE_CHAOS=long $(BIN)/python -m pytest -q -s tests/faults/test_chaos.py $(ARGS)

fuzz: $(STAMP) ## 100,000 hostile inputs for producers and feeds (ten minutes); `make test` has 3,000 of them
	@NOTICEWIRE_HOSTILE_INPUTS=100000 $(BIN)/python -m pytest -q tests/faults/test_hostile.py $(ARGS)

soak: $(STAMP) ## 100,000 simulated messages: does any service's memory grow? ARGS='--messages 3000' for less
	@$(BIN)/python bench/soak.py $(ARGS)

check: $(STAMP) ## format, lint, strict types, import layers, schemas
	@failed=0; \
	echo "format"; $(BIN)/ruff format --check --quiet . || { echo "not formatted: run make format"; failed=1; }; \
	echo "lint"; $(BIN)/ruff check --quiet . || failed=1; \
	echo "types"; $(BIN)/mypy --no-error-summary || failed=1; \
	echo "import layers"; $(BIN)/lint-imports --no-cache >$(VENV)/lint-imports.log 2>&1 || { cat $(VENV)/lint-imports.log; failed=1; }; \
	echo "schemas"; $(BIN)/noticewire schema check >$(VENV)/schema-check.log 2>&1 || { cat $(VENV)/schema-check.log; failed=1; }; \
	[ $$failed = 0 ] && echo "check: clean"

format: $(STAMP) ## mend format and what lint can mend
	@$(BIN)/ruff check --fix-only --quiet . ; $(BIN)/ruff format --quiet .

lock: $(STAMP) ## choose the newest dependencies anew, for Python 3.11 and later, with hashes
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/python -m uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate \
		--no-emit-index-url --custom-compile-command 'make lock' --group dev --output-file requirements.lock pyproject.toml
	@$(BIN)/python -m uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate \
		--no-emit-index-url --custom-compile-command 'make lock' --no-deps --group data --output-file requirements-data.lock

clean: ## remove the virtual environment and caches (not the shared cache of Kafka's jars)
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis

# The stamp is written last, so an interrupted set-up is simply done again.
$(STAMP): requirements.lock requirements-data.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Noticewire needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) -V 2>/dev/null || echo not there)." ; \
		echo "Name another one: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)" ; exit 1 ; } >&2
	@echo "Setting up $(VENV) with $$($(PYTHON) -V): takes a minute the first time"
	@$(BIN)/python -c '' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV) || { \
		echo "$(PYTHON) cannot make a virtual environment (on Debian: its package python3-venv is missing)." >&2 ; exit 1 ; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes --no-deps -r requirements-data.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(STAMP)
