PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || echo python3)
BIN := .venv/bin
# Written when everything is installed; if older than the pins, the environment is updated.
READY := .venv/.ready

.PHONY: help setup demo test test-fast lint mlflow weights clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 18

setup: $(READY) ## make the environment in .venv: the pinned packages, all extras, tools for development

# torch comes first: another requirement would otherwise bring another build of it, several GB. The package index has
# torchaudio for CUDA only; next to a CPU build of torch it can be imported without its compiled part, which is not used.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[all,dev]'
	$(BIN)/python -c 'import torchaudio' 2> /dev/null || rm .venv/lib/python*/site-packages/torchaudio/lib/*.so
	$(BIN)/python -c 'import torchaudio'
	touch $@

demo: $(READY) ## train, evaluate and listen to a small Spectron on the synthetic world (2 to 5 minutes on 2 cores)
	$(BIN)/spectron fit experiments/mini/demo.yaml

test: $(READY) ## run the tests (two processes; about 10 minutes on 2 cores)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

test-fast: $(READY) ## run the tests that need no training and no corpus (about a minute on 2 cores)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "not slow"

lint: $(READY) ## style, types and import directions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

mlflow: $(READY) ## open MLflow on the runs of this folder
	$(BIN)/mlflow ui --backend-store-uri sqlite:///runs/mlflow.db

weights: $(READY) ## train the bundled weights again (about seven hours on 2 cores)
	bash experiments/mini/weights/make.sh $(BIN)

clean: ## remove the environment and the synthetic corpora (runs are kept)
	rm -rf .venv data
