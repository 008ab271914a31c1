# Everything runs in a virtual environment made from the lock file: python3 (3.11 or newer) and make are all it takes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test slow-test lint format docs bench wheel-test lock clean

demo: $(READY)
	$(BIN)/python experiments/demo.py

test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow" $(ARGS)

slow-test: $(READY)
	$(BIN)/python -m pytest -m slow $(ARGS)

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/pyright

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Minutes, on an otherwise idle machine; writes benchmarks/results/bench.md.
bench: $(READY)
	$(BIN)/python benchmarks/bench.py $(ARGS)

# The wheel in an empty environment, far from the repository. Fetches the packages that it depends on.
wheel-test: $(READY)
	rm -rf build/wheel
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir build/wheel .
	$(PYTHON) -m venv build/wheel/venv
	build/wheel/venv/bin/python -m pip install --quiet --disable-pip-version-check build/wheel/*.whl
	cd / && env -u PYTHONPATH $(CURDIR)/build/wheel/venv/bin/python $(CURDIR)/tests/installed_package.py

# The site goes to build/site. What builds it is locked apart: neither the demonstration nor the tests need it.
docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict

# The locks are for every platform and name no index; `make lock` renews them from pyproject.toml.
COMPILE := uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --python-version 3.11
lock: $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/$(COMPILE) --extra plot --extra train --group test --group lint \
		--output-file requirements.lock pyproject.toml build.in
	$(BIN)/$(COMPILE) --group docs --constraint requirements.lock --output-file docs.lock

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(READY): requirements.lock pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

$(VENV)/.docs: docs.lock | $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r docs.lock
	touch $@

clean:
	rm -rf $(VENV) build dist demo
