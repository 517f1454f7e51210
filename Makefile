# Everything runs in .venv, which is made at the first call. Override what is wanted on the command line:
#   make run ARGS="--scale smoke --out runs/smoke"      make test ARGS="-k population"
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=

.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

install: .venv/installed  ## install whydeep and the tools for development into .venv

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

run: install  ## run the whole study at quick scale (ARGS: options of whydeep run)
	$(BIN)/whydeep run $(ARGS)

test: install  ## run the fast tests
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

lint: install  ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: install  ## measure speed against plain PyTorch loops, on this machine
	$(BIN)/whydeep bench $(ARGS)

docs: install  ## check that the commands and examples in the documents work
	$(BIN)/python -m pytest tests/docs -m "slow or not slow" $(ARGS)

clean:  ## remove .venv and caches, not the runs
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis

.PHONY: help install run test lint bench docs clean
