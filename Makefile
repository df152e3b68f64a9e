# The commands of daily work; `make` alone lists them. All they make is in .venv/ and .run/.
# Recipes that run the service are one simple command each, so that make starts it without a shell in between:
# then a kill -9 of make reaches it (setpriv), and it stops everything in order.

PYTHON ?= python3
BIN := .venv/bin
RUN := setpriv --pdeathsig TERM $(BIN)/python -m feedsvc.run
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes
PIP_COMPILE := $(BIN)/pip-compile --quiet --generate-hashes --strip-extras --allow-unsafe \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host
SERVICE := .venv/requirements.installed
TOOLS := .venv/requirements-dev.installed
PRODUCTION := ENVIRONMENT=production SECRET_KEY=$$($(BIN)/python -c 'import secrets; print(secrets.token_urlsafe(48))') \
	ALLOWED_HOSTS=example.org BASE_URL=https://example.org
USERS ?= 20
TIME ?= 30s
FOLLOWERS ?= 1000000

.PHONY: help setup up demo test test-long chaos lint audit load load-ui bench locks clean

help:  ## list these targets
	@sed -nE 's/^([a-z-]+):.*  ## (.*)/\1@\2/p' Makefile | while IFS=@ read -r name does; do printf 'make %-9s %s\n' "$$name" "$$does"; done

setup: $(SERVICE) $(TOOLS)  ## make .venv with the service and the tools (the other targets do it when needed)

up: $(SERVICE)  ## run the service on PORT (8000) until Ctrl-C
	@$(RUN)

demo: export RUN_DIR := .run/demo
demo: export FANOUT_BATCH := 2000
demo: $(SERVICE)  ## watch posts reach every follower of a made-up graph
	@$(RUN) -- python manage.py demo $(ARGS)

test: $(TOOLS)  ## run the tests, on both brokers; ARGS="-k follow -x" goes to pytest, and is all that runs then
	@$(BIN)/python -m $(if $(ARGS),pytest $(ARGS),tests.sessions)

test-long: export LONG := 1
test-long: $(TOOLS)  ## 20,000 random steps against the definition of home timelines, and all hostile input (over an hour)
	@$(BIN)/python -m pytest tests/feeds/test_definition.py tests/security $(ARGS)

chaos: export CHAOS := 1
chaos: $(TOOLS)  ## hurt the service in each way of docs/reliability.md; BROKER=rabbitmq, SEED=7, ONLY=1,17
	@$(BIN)/python -m pytest tests/chaos $(ARGS)

# No server is asked; the settings only want well-formed addresses.
lint: export DATABASE_URL := postgres://nobody@127.0.0.1:1/none
lint: export REDIS_URL := redis://127.0.0.1:1
lint: export CACHE_URL := redis://127.0.0.1:1
lint: export CELERY_BROKER_URL := redis://127.0.0.1:1
lint: export CELERY_RESULT_BACKEND := redis://127.0.0.1:1
lint: $(TOOLS)  ## ruff, mypy, the floors of docs/design.md, missing migrations, the settings of production
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python -W ignore::RuntimeWarning manage.py makemigrations --check --dry-run
	@$(PRODUCTION) $(BIN)/python manage.py check --deploy --fail-level WARNING

# Asks the package index what is known of the versions in the locks; nothing is installed. It succeeds if nothing is. pip-audit
# has one exit code for what is known and for what could not be asked, so the last line says how to tell them apart.
audit: $(TOOLS)  ## look up known vulnerabilities of all locked packages (needs a network; fails if there are any)
	@$(BIN)/pip-audit --strict --require-hashes --disable-pip --progress-spinner off -r requirements.txt -r requirements-dev.txt || { echo \
		'audit: not passed. A table has what is known, and which version mends it. Any error says what could not be asked,' \
		'and then nothing is known, for good or ill (the index may be a mirror without advisories)' >&2; exit 1; }

load-ui load: export RUN_DIR := .run/load
load-ui load: export RATE_LIMITS := off
load: $(TOOLS)  ## let Locust's USERS (20) use a service of their own for TIME (30s); docs/loadtest.md
	@$(RUN) -- python -m loadtests run --users $(USERS) --time $(TIME) $(ARGS)

load-ui: $(TOOLS)  ## the same with Locust's page, to start, change and watch loads by hand
	@$(RUN) -- python -m loadtests ui --users $(USERS) --time $(TIME) $(ARGS)

bench: export RUN_DIR := .run/bench
bench: export RATE_LIMITS := off
bench: $(SERVICE)  ## measure the service against yardsticks; FOLLOWERS=1000000, ARGS="--only home,post --json"
	@$(RUN) -- python manage.py bench --followers $(FOLLOWERS) $(ARGS)

locks: $(TOOLS)  ## recompile both requirements files from their .in
	$(PIP_COMPILE) --output-file requirements.txt requirements.in
	$(PIP_COMPILE) --output-file requirements-dev.txt requirements-dev.in

clean:  ## remove .venv, .run and all caches
	rm -rf .venv .run .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps: a lock is installed again only when it changed.
$(SERVICE): requirements.txt | .venv/bin/python
	@echo "installing requirements.txt"
	@$(PIP) -r requirements.txt
	@touch $@

$(TOOLS): requirements-dev.txt $(SERVICE)
	@echo "installing requirements-dev.txt"
	@$(PIP) -r requirements-dev.txt
	@touch $@

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "feedsvc needs Python 3.11 or newer: make PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo "This Python can't make virtual environments: apt install python3-venv"; exit 1; }
	@$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }
