# `make check` runs everything that a change must pass; `make campaign` the longer tests under faults.
PYTHON ?= python3
BIN := .venv/bin

# The tests start hundreds of processes, and each would compile the package anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: install lint test check campaign

install: $(BIN)/optuna-tuner

$(BIN)/optuna-tuner: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[embedded,gpu,importance,postgresql,mysql]' --group dev
	touch $@

lint: install
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

# What starts servers, workers and databases has the machine to itself; the rest shares it.
ALONE := tests/e2e tests/integration tests/chaos
test: install
	$(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile $(addprefix --ignore=,$(ALONE))
	$(BIN)/pytest --durations 40 $(ALONE)

check: lint test

campaign: install
	$(BIN)/pytest -m campaign
