# Needs GNU make, Python 3.11+, and for everything with Kafka: Java 17+ and Maven. `make help` lists the targets.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

PYTHON ?= python3
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/replicator
TOOLS := $(CACHE)/tools
BIN := .venv/bin
STAMP := .venv/.synced
UV_VERSION := 0.13.9
PEER ?=
ARGS ?=

.PHONY: help setup jars demo test test-long lint types check audit bench chaos clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(STAMP) ## Create .venv from uv.lock (instant when nothing changed)

# `uv` as it is on PATH, else one of our own, put into a private environment by pip.
$(STAMP): pyproject.toml uv.lock
	@if command -v uv > /dev/null; then uv=uv; else \
	  uv=$(TOOLS)/bin/uv; \
	  if ! [ -x "$$uv" ]; then \
	    "$(PYTHON)" -c 'import ensurepip, venv' 2> /dev/null || { \
	      echo 'error: Python cannot make virtual environments; next: apt-get install python3-venv' >&2; exit 1; }; \
	    "$(PYTHON)" -m venv "$(TOOLS)"; \
	    "$(TOOLS)/bin/python" -m pip install --quiet uv==$(UV_VERSION); \
	  fi; \
	fi; \
	"$$uv" sync --frozen --compile-bytecode --group dev
	@touch $@

jars: setup ## Fetch the Kafka jars, or say which package is missing
	@$(BIN)/python -m replicator.devkit

demo: jars ## Two clusters, one flow, a switchover and a failback: watch it
	$(BIN)/replicator demo $(ARGS)

# Tests on brokers mostly wait while the others compute, so both run at once; the others' report comes last, whole.
# pytest ends with 5 where ARGS selects none of its half.
test: jars ## Unit, property, command line and integration tests
	@report=$$(mktemp); trap 'kill $$(jobs -p) 2> /dev/null || true; rm -f "$$report"' EXIT; \
	$(BIN)/pytest -m 'not long and not kafka' -o cache_dir=.pytest_cache/computing $(ARGS) > "$$report" 2>&1 & \
	on_brokers=0; $(BIN)/pytest -m 'not long and kafka' $(ARGS) || on_brokers=$$?; \
	others=0; wait $$! || others=$$?; cat "$$report"; \
	case "$$on_brokers $$others" in \
	  '0 0' | '0 5' | '5 0') ;; \
	  *) echo "error: not all passed; pytest ended with $$on_brokers on brokers and with $$others elsewhere" >&2; exit 1 ;; \
	esac

test-long: jars ## The tests that take minutes
	$(BIN)/pytest -m long $(ARGS)

lint: setup ## Style, imports, dependencies
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/deptry .

types: setup ## mypy, strict
	$(BIN)/mypy

check: lint types test ## All of the above

audit: setup ## Packages of uv.lock that their registry has withdrawn
	$(BIN)/python -m scripts.audit_lock

bench: jars ## Benchmarks; PEER=mm2 runs MirrorMaker 2 beside
	$(BIN)/python -m benchmarks.run $(if $(PEER),--peer $(PEER)) $(ARGS)

chaos: jars ## Random faults, then a check of every record; ARGS="--seed 7 --minutes 10"
	$(BIN)/python -m chaos.run $(ARGS)

clean: ## Remove what was built here (the cache of jars and tools stays)
	rm -rf .venv dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
