# Every target sets up what it needs from nothing: Python 3.11 and make are enough.
.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
RUN := $(VENV)/.run-ready
DEV := $(VENV)/.dev-ready
ARGS ?=

help: ## This list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Fleetcast needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "This Python has no venv module (on Debian: apt install python3-venv)" >&2; exit 1; }

$(RUN): requirements.lock pyproject.toml | $(BIN)/python
	@echo "Installing what Fleetcast needs into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --only-binary :all: --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(DEV): requirements-dev.lock $(RUN)
	@echo "Installing the tools for tests and checks into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --only-binary :all: --require-hashes -r requirements-dev.lock
	@touch $@

browser:
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && ! command -v chromium >/dev/null; then \
		echo "Installing Chromium for the tests that open pages ..."; \
		{ timeout 60 apt-get update -qq && DEBIAN_FRONTEND=noninteractive timeout 300 \
			apt-get install -y -qq --no-install-recommends chromium >/dev/null; } || \
			echo "Chromium could not be installed: the tests that open pages do not run" >&2; \
	fi

run: $(RUN) ## Everything on embedded servers, the dashboard, and a demo broadcast under way
	@$(BIN)/fleetcast up --demo $(ARGS)

demo: $(RUN) ## A demo broadcast to its end without a terminal; exit code 0 only if every check holds
	@$(BIN)/fleetcast demo $(ARGS)

demo-linked: $(DEV) ## A device linked by QR before a local WhatsApp Web, and a campaign through it; exit code 0 only if all is read
	@$(BIN)/python -m tools.demo_linked

test: $(DEV) browser ## Every test; ARGS="..." goes to pytest
	@$(BIN)/python -m pytest $(ARGS)

testbed: $(DEV) ## A local WhatsApp Web for client libraries, on loopback only (docs/testbed.md)
	@$(BIN)/python -m testbed.whatsapp_web $(ARGS)

screenshots: $(DEV) browser ## Pictures of every page, into build/screenshots; ARGS="--only campaign" for some
	@$(BIN)/python -m tools.screenshots $(ARGS)

bench: $(RUN) ## Every figure (about 30 minutes); ARGS="pipeline --quick" for one of them, short
	@$(BIN)/python -m bench $(ARGS)

bench-growth: $(RUN) ## What a message costs from 10,000 to 5,000,000 rows, 100 to 30,000 devices; ARGS="--quick"
	@$(BIN)/python -m bench growth $(ARGS)

bench-pages: $(RUN) ## Every page and GET of the API with 10,000,000 messages stored (15 minutes, 12 GB); ARGS="--quick"
	@$(BIN)/python -m bench pages $(ARGS)

bench-sequences: $(RUN) ## 1,000,000 people in sequences, 1,000 due a minute (10 minutes, 4 GB); ARGS="--quick"
	@$(BIN)/python -m bench sequences $(ARGS)

acceptance: $(DEV) ## Every long proof (about an hour); the report is acceptance/report.json
	@$(BIN)/python -m acceptance $(ARGS)

acceptance-chaos: $(RUN) ## Kills, lost servers, bad networks, zombies, restarts; ARGS="--quick", ARGS="--seed 7"
	@$(BIN)/python -m acceptance chaos $(ARGS)

acceptance-linked: $(DEV) ## 3,000 linked devices before a local WhatsApp Web, processes killed throughout; ARGS="--quick"
	@$(BIN)/python -m acceptance linked $(ARGS)

acceptance-fuzz: $(DEV) ## Requests that nobody would think of, to every operation of the API; ARGS="--quick"
	@$(BIN)/python -m acceptance fuzz $(ARGS)

check: $(DEV) ## Format, lint, types, import contracts, file sizes
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python tools/file_sizes.py

format: $(DEV) ## Format the code and apply safe fixes
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

lock: ## Pin the newest allowed dependencies, with hashes (needs uv)
	@uv pip compile --universal --generate-hashes --no-emit-index-url --python-version 3.11 --upgrade \
		pyproject.toml --group build -o requirements.lock --custom-compile-command "make lock" --quiet
	@uv pip compile --universal --generate-hashes --no-emit-index-url --python-version 3.11 \
		pyproject.toml --group build --group dev --group testbed -c requirements.lock -o requirements-dev.lock \
		--custom-compile-command "make lock" --quiet

clean: ## Remove the virtual environment and caches (never data)
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

.PHONY: help browser run demo demo-linked test testbed screenshots bench bench-growth bench-pages bench-sequences acceptance acceptance-chaos acceptance-linked acceptance-fuzz check format lock clean
