# Needs make and a Python of 3.11 or newer with venv; `make services` needs Go and apt-get too.

PYTHON ?= python3
# Words passed on to pytest, e.g. make test ARGS='-k retention -x'
ARGS ?=
# Seconds that the whole of `make test`, `make test-faults` and `make test-interleavings` may take.
TEST_BUDGET ?= 300
FAULTS_BUDGET ?= 600
LONG_BUDGET ?= 1500

# Seconds that `make fuzz` gives each target, and which (none: all).
FUZZ_SECONDS ?= 20
FUZZ_TARGET ?=

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
	$(BIN)/pytest -n 2 --session-timeout=$(TEST_BUDGET) --ignore=tests/services --ignore=tests/faults \
	  --ignore=tests/interleavings $(addprefix --ignore=,$(LONG)) tests $(ARGS)

.PHONY: test-faults
test-faults: .venv/.installed ## Crash, fail, cut the power at every operation (at most 10 minutes)
	$(BIN)/pytest -n 2 --dist worksteal --session-timeout=$(FAULTS_BUDGET) tests/faults \
	  $(addprefix --ignore=,$(MANY)) $(ARGS)

# Several at once: interleaved, suspended, killed, with clocks that jump; S3 that errs at any request;
# stores that lie.
MANY := $(addprefix tests/faults/,test_suspended.py test_suspended_s3.py test_clocks.py \
  test_s3_faults.py test_killed.py test_lies.py test_cold_moves.py test_garbage_faults.py)
# What takes long: what is struck down again and again; a registry that is never still; months of a
# vault's life; programs beside; hostile input; every store's promises; the audit's verbs; tiering, struck down at every request.
LONG := tests/hostile tests/ops/test_snapshot_crashes.py tests/audit/tail/test_tail_killed.py \
  tests/ops/test_snapshot_busy.py tests/simulation tests/cli/test_age.py \
  tests/runbooks/test_recover_sealed_without_regvault.py tests/ops/tier tests/policy/tiering \
  $(wildcard tests/cli/test_tier_*.py) tests/contract tests/ops/audit tests/ops/test_cold_mounts.py

.PHONY: test-interleavings
test-interleavings: .venv/.installed ## Many at once, in every order, suspended, killed, with clocks that jump; hostile giants; tiering
	$(BIN)/pytest -n 2 --dist worksteal --session-timeout=$(LONG_BUDGET) tests/interleavings $(MANY) $(LONG) $(ARGS)

.PHONY: check
check: .venv/.installed ## Lint, formatting, types, layers, generated pages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(if $(wildcard scripts/gen_docs.py),$(BIN)/python scripts/gen_docs.py --check)
	$(if $(wildcard scripts/guarantees.py),$(BIN)/python scripts/guarantees.py --check)

.PHONY: mutants
mutants: .venv/.installed ## Break each safety rule in turn; a named test must fail each time (MUTANTS='prune lease')
	$(BIN)/python scripts/mutants/run.py $(MUTANTS)
	$(BIN)/python scripts/guarantees.py

.PHONY: services
services: ## Install the real servers and clients that test-services runs
	scripts/services/install.sh

.PHONY: test-services
test-services: .venv/.installed ## Run the tests on real registries, MinIO and Kafka; fails if one is not installed
	$(BIN)/pytest tests/services $(ARGS)

.PHONY: bench
bench: .venv/.installed ## Measure against the peers that are on PATH, and the floor (hours; see scripts/bench/run.py --help)
	$(BIN)/python scripts/bench/run.py $(ARGS)

.PHONY: bench-tiering
bench-tiering: .venv/.installed ## Measure what tiering saves on 20 histories of two years (ten minutes)
	$(BIN)/python scripts/bench/tiering.py --out bench-out/tiering.json $(ARGS)
	$(BIN)/python scripts/bench/tier_plan.py
	$(BIN)/python scripts/bench/tier_plan_vault.py

.PHONY: bench-audit
bench-audit: .venv/.installed ## Measure the audit stream against its floors, and rsyslog where it is on PATH (half an hour)
	$(BIN)/python scripts/bench/audit.py --work bench-out/audit --out bench-out/audit.json $(ARGS)
	$(BIN)/python scripts/bench/audit_peer.py --work bench-out/audit --out bench-out/audit.json

# An environment of its own: the fuzzer is heavy, and has wheels for few Pythons.
.venv-fuzz/.installed: requirements-fuzz.lock
	rm -rf .venv-fuzz
	$(PYTHON) -m venv .venv-fuzz
	.venv-fuzz/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@.venv-fuzz/bin/python -c 'import atheris' || { \
	  echo "error: the fuzzer (atheris) needs Python 3.11 to 3.13: make PYTHON=/path/to/python3.12 fuzz" >&2; exit 1; }
	@touch $@

.PHONY: fuzz
fuzz: .venv-fuzz/.installed ## Fuzz the parsers, guided by coverage (FUZZ_SECONDS=20 each, FUZZ_TARGET=root)
	.venv-fuzz/bin/python tests/fuzz/run.py fuzz $(FUZZ_TARGET) --seconds $(FUZZ_SECONDS)

.PHONY: soak
soak: .venv/.installed ## Registries of a million images, and 400 days of a vault's life (an hour, 10 GB)
	$(BIN)/python scripts/bench/million.py --work bench-out/million --out bench-out/million.json $(ARGS)
	LIFE_DAYS=400 $(BIN)/pytest -s tests/simulation
	WHOLE=1 KILLS=50 $(BIN)/pytest -n 2 tests/faults
	WHOLE=1 $(BIN)/pytest tests/interleavings
	KILLS=100 BROKER_EVERY=1 $(BIN)/pytest -k killed tests/services/test_audit_ship.py tests/services/test_audit_stream.py

.PHONY: wheel-test
wheel-test: .venv/.installed ## Build sdist and wheel; try the wheel in a clean environment
	scripts/wheel-test.sh $(BIN)/python

.PHONY: lock
lock: ## Re-make the lock files (LOCK_ARGS=--upgrade for newer versions)
	PYTHON='$(PYTHON)' scripts/lock.sh $(LOCK_ARGS)

.PHONY: clean
clean: ## Remove everything that make made, except for the cache of installed services
	rm -rf .venv .venv-fuzz fuzz-out build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
