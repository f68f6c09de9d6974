# One verb a purpose; `make` alone lists them. Everything is installed into .venv from requirements.lock.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
USE_CASE ?= credit,fraud
export DO_NOT_TRACK := true
export BENTOML_DO_NOT_TRACK := True
export MLFLOW_DISABLE_TELEMETRY := true

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format bench bench-features bench-kills bench-quality bench-training bench-serving bench-monitoring bench-simulators bench-demo notebooks lock clean

help: ## list the verbs
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

setup: $(READY) ## install everything into .venv

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info[:2] == (3, 11) else "Python 3.11 is needed; found " + sys.version.split()[0] + ". Set PYTHON=/path/to/python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.8'
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

demo: $(READY) ## the whole loop on simulated data (USE_CASE=lending_club|handbook_fraud|taiwan_default for real tables, DEMO_EXIT=1 to stop at the end)
	@$(BIN)/risk demo $(USE_CASE) $(if $(DEMO_EXIT),--exit)

test: $(READY) ## all tests
	@$(BIN)/python -m pytest -q -n 2 --dist loadfile

check: $(READY) ## format, lint, types, layers
	@$(BIN)/ruff format --check --quiet . || (echo "run: make format" && exit 1)
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

format: $(READY) ## format the code and sort imports
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format --quiet .

bench: bench-simulators bench-features bench-kills bench-monitoring bench-serving bench-quality bench-training bench-demo ## every measurement against its bar

bench-%: $(READY)
	@$(BIN)/python -m benchmarks.$*

bench-features bench-kills: export RISK_REDIS_URL := $(or $(RISK_REDIS_URL),redis://127.0.0.1:6379)

bench-features: $(READY) ## training frames, online vectors and windowed state beside Feast's own stores and plain DuckDB
	@$(BIN)/python -m benchmarks.features

bench-kills: $(READY) ## 200 kills of loading and recording, and what was lost
	@$(BIN)/python -m benchmarks.kills

bench-quality: $(READY) ## real tables: metrics beside the published figures
	@$(BIN)/python -m benchmarks.quality

bench-training: $(READY) ## the search beside a plain one: time, out-of-time AUC and memory
	@$(BIN)/python -m benchmarks.training

bench-serving: $(READY) ## latency of one decision over HTTP
	@$(BIN)/python -m benchmarks.serving

bench-monitoring: $(READY) ## drift statistics of a million rows
	@$(BIN)/python -m benchmarks.monitoring

bench-simulators: $(READY) ## a million simulated transactions
	@$(BIN)/python -m benchmarks.simulators

bench-demo: $(READY) ## the demo's time and memory, and the start of the command line
	@$(BIN)/python -m benchmarks.demo

notebooks: $(READY) ## execute the notebooks in place
	@$(BIN)/python -m notebooks.build

lock: $(READY) ## resolve requirements.lock anew
	@$(BIN)/uv pip compile pyproject.toml --python-version 3.11 --extra redis --extra postgres --extra reports --extra pdf --group dev \
	  --generate-hashes --no-emit-index-url --no-header --quiet --custom-compile-command "make lock" -o requirements.lock

clean: ## remove what was built and every trace of the demo
	@rm -rf build dist .risk .mypy_cache .ruff_cache .pytest_cache *.egg-info
