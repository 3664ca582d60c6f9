# Every target does its own set-up: on a bare machine with Python 3.11 and make, `make demo` and
# `make test` need no other step.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready

.PHONY: setup test lint types demo bench bench-quick bench-risk soak clean

setup: $(STAMP)

$(STAMP): pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not on the PATH: install Python 3.11 or later, or run make PYTHON=python3"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $(STAMP)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

test: setup lint types
	$(BIN)/python -m pytest --cov --cov-report=term

demo: setup
	$(BIN)/idk demo

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .coverage*

bench: setup
	$(BIN)/python -m tests.benchmarks.run

bench-quick: setup
	$(BIN)/python -m tests.benchmarks.run --quick

bench-risk: setup
	$(BIN)/python -m tests.benchmarks.bench_risk

soak: setup
	$(BIN)/python -m tests.benchmarks.soak
