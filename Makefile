PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || echo python3)
BIN := .venv/bin
# Made when everything is installed; older than the pins, it is made anew.
READY := .venv/.ready

.PHONY: help setup demo test lint mlflow weights clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 18

setup: $(READY) ## make the environment in .venv with the pinned packages

# torch comes first: another requirement would otherwise bring a build of its own choice, several GB of it.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m spectron.audio.installation
	touch $@

demo: $(READY) ## train, evaluate and listen to a small Spectron on the synthetic world (2 to 5 minutes on 2 cores)
	$(BIN)/spectron fit experiments/mini/demo.yaml

test: $(READY) ## run the tests (two processes; about 13 minutes on 2 cores)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

lint: $(READY) ## style, types and import directions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

mlflow: $(READY) ## open MLflow on the runs of this folder
	$(BIN)/mlflow ui --backend-store-uri sqlite:///runs/mlflow.db

weights: $(READY) ## make the embedded weights again (about seven hours on 2 cores)
	bash experiments/mini/weights/make.sh $(BIN)

clean: ## remove the environment and the synthetic corpora (runs are kept)
	rm -rf .venv data
