# Everything runs in a virtual environment that the first target makes: no other set-up is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: demo test lint bench constraints clean

$(VENV)/maps: pyproject.toml constraints.txt  # what mapping needs: without torch, which is large
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[workers,cpu,service,embedded]'
	touch $@

$(VENV)/ready: $(VENV)/maps
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(VENV)/maps  ## map a generated landscape through a server of its own; pictures and rasters in demo/map
	$(BIN)/landsigma demo demo

test: $(VENV)/ready
	$(BIN)/pytest --numprocesses 2

lint: $(VENV)/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/ready
	$(BIN)/python benchmarks/map.py

constraints:  ## pin what a fresh environment resolves to
	$(PYTHON) -m venv build/fresh
	build/fresh/bin/pip install --quiet '.[dev]'
	build/fresh/bin/pip freeze --exclude landsigma \
	    | awk '{ sub(/\+cpu$$/, ""); print } sub(/^onnxruntime==/, "onnxruntime-gpu==")' > constraints.txt
	rm -rf build/fresh

clean:
	rm -rf $(VENV) demo
