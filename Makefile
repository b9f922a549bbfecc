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
	$(BIN)/python -m pip install --quiet --no-compile --editable '.[docker,embedded,gpu,kubernetes,mlflow,mysql,notify,postgresql,tables,wandb]' --group dev
	touch $@

lint: install
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

# Those that start servers, workers and databases come second and in their own order: the long ones lie first. They wait
# much: one more of them than there are cores keeps the cores at work.
HEAVY := tests/e2e tests/integration tests/chaos
SIDE_BY_SIDE := $(BIN)/pytest --maxprocesses 4 --dist loadfile
test: install
	$(SIDE_BY_SIDE) -n auto $(addprefix --ignore=,$(HEAVY))
	$(SIDE_BY_SIDE) -n $$(($$(nproc) + 1)) --no-loadscope-reorder --durations 40 $(HEAVY)

check: lint test

campaign: install
	$(BIN)/pytest -m campaign
