# make demo: set up and serve the page.   make test: set up and run the whole suite.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint format venv figures clean

demo: $(VENV)/.installed
	$(BIN)/python app.py

test: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

venv: $(VENV)/.installed

# The pictures of the README, from scikit-image's photographs and the bundled weights.
figures: $(VENV)/.installed
	$(BIN)/python docs/make_figures.py

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .gradio

# One environment for everything; made again when what it should hold changes.
$(VENV)/.installed: requirements.txt pyproject.toml
	@echo "Setting up $(VENV): some 7 GB, which takes minutes."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -e ".[app,train,docs,test]"
	touch $@
