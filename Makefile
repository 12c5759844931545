# wardgate: every task of a developer. `make` prints this list; `make check` is what continuous integration runs.

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup demo test check bench compat torture docs format lint types floors deps clean .user
MAKEFLAGS += --no-print-directory
BIN := .venv/bin
PYTEST_ARGS ?= -n 2 --dist loadgroup

help: ## print this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

setup: ## install everything into .venv and .tools (as root also the system's packages)
	@tools/setup

.user:
	@tools/setup --user

demo: .user ## the whole product on this machine, against a real MongoDB (DEMO_ARGS=--once ends it)
	@$(BIN)/wardgate demo $(DEMO_ARGS)

test: .user ## every test (PYTEST_ARGS="-n0 -x tests/wire" for some)
	@$(BIN)/pytest $(PYTEST_ARGS)

check: .user lint types floors deps test ## everything that must be green before a push

compat: ## every client's list, directly and through wardgate, compared (COMPAT_ARGS="--clients node" for some)
	@tools/setup-compat
	@$(BIN)/python -m compat $(COMPAT_ARGS)

bench: .user ## direct against through wardgate, results to bench/results/
	@$(BIN)/python -m bench

torture: .user ## kills, elections and outages under load, minutes long (TORTURE_ARGS="--only kill9 --seed 7")
	@$(BIN)/python -m torture $(TORTURE_ARGS)

docs: .user ## write the reference parts of the documentation from the code, and check all of it
	@$(BIN)/python tools/write_reference.py
	@$(BIN)/pytest -q -n0 tests/docs

format: .user ## rewrite the code as ruff wants it
	@$(BIN)/ruff format --quiet
	@$(BIN)/ruff check --quiet --fix

lint: .user ## formatting and lint rules, changing nothing
	@$(BIN)/ruff format --check --quiet || { $(BIN)/ruff format --check; exit 1; }
	@$(BIN)/ruff check --quiet

types: .user ## mypy --strict
	@$(BIN)/mypy --no-error-summary

floors: .user ## who may import whom, and no file over 600 lines
	@$(BIN)/lint-imports --no-logo > .tools/floors.log 2>&1 || { cat .tools/floors.log; exit 1; }
	@$(BIN)/python tools/check_files.py

deps: .user ## what is imported is declared, and the other way round
	@$(BIN)/deptry src --no-ansi 2>.tools/deptry.log || { cat .tools/deptry.log; exit 1; }

clean: ## remove what the checks leave behind (.venv and .tools stay)
	@rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist build
