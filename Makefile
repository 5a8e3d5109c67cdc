# Needs make and a Python of 3.11 or newer with venv; `make services` needs Go and apt-get too.

PYTHON ?= python3
# Words passed on to pytest, e.g. make test ARGS='-k retention -x'
ARGS ?=
# Seconds that the whole of `make test` and of `make test-faults` may take.
TEST_BUDGET ?= 300
FAULTS_BUDGET ?= 600

BIN := .venv/bin

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help: ## Show this list
	@sed -n 's/^\([a-z.][a-z-]*\):[^#]*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | while IFS='	' read -r name text; do \
	  printf '  %-14s %s\n' "$$name" "$$text"; done

# Two steps, each with its own stamp, written last: an interrupted one starts again from nothing,
# and a change of pyproject.toml alone does not install every dependency anew.
.PHONY: .venv
.venv: .venv/.installed ## Make the virtual environment from requirements-dev.lock

.venv/.locked: requirements-dev.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "error: needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1 || true)." >&2; \
	  echo "Name another one: make PYTHON=/path/to/python3.12 $@" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "error: '$(PYTHON)' has no venv module (Debian, Ubuntu: apt-get install python3-venv)." >&2; exit 1; }
	rm -rf .venv
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

# The build backend is in the lock file too, so nothing unpinned is fetched for the build.
.venv/.installed: .venv/.locked pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	@touch $@

.PHONY: demo
demo: .venv/.installed ## Take the guided tour: back up, lose and recover a throw-away registry
	$(BIN)/regvault demo

.PHONY: test
test: .venv/.installed ## Run the tests that need no server (at most 5 minutes)
	$(BIN)/pytest -n 2 --session-timeout=$(TEST_BUDGET) --ignore=tests/services --ignore=tests/faults tests $(ARGS)

.PHONY: test-faults
test-faults: .venv/.installed ## Crash, fail and cut the power at every operation (at most 10 minutes)
	$(BIN)/pytest -n 2 --dist worksteal --session-timeout=$(FAULTS_BUDGET) tests/faults $(ARGS)

.PHONY: check
check: .venv/.installed ## Lint, formatting, types, layers, generated pages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(if $(wildcard scripts/gen_docs.py),$(BIN)/python scripts/gen_docs.py --check)

.PHONY: services
services: ## Install the real servers and clients that test-services runs
	scripts/services/install.sh

.PHONY: test-services
test-services: .venv/.installed ## Run the tests on real registries and MinIO; fails if one is not installed
	$(BIN)/pytest tests/services $(ARGS)

.PHONY: bench
bench: .venv/.installed ## Measure against the peers that are on PATH, and the floor (hours; see scripts/bench/run.py --help)
	$(BIN)/python scripts/bench/run.py $(ARGS)

.PHONY: soak
soak: .venv/.installed ## Memory and time of registries of up to a million images (half an hour, 10 GB)
	$(BIN)/python scripts/bench/million.py --work bench-out/million --out bench-out/million.json $(ARGS)

.PHONY: wheel-test
wheel-test: .venv/.installed ## Build sdist and wheel; try the wheel in a clean environment
	scripts/wheel-test.sh $(BIN)/python

.PHONY: lock
lock: ## Re-make the lock files (LOCK_ARGS=--upgrade for newer versions)
	PYTHON='$(PYTHON)' scripts/lock.sh $(LOCK_ARGS)

.PHONY: clean
clean: ## Remove everything that make made, except for the cache of installed services
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
