PYTHON ?= python3
VENV := .venv
PIP := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
ARGS ?=
WORKERS ?= 2

.PHONY: demo test check lint clean

demo: $(VENV)/.demo
	$(VENV)/bin/sortbin demo $(ARGS)

test: lint
	$(VENV)/bin/python -m pytest --numprocesses $(WORKERS) --dist loadfile $(ARGS)

# For every edit: the quick tests of what runs on the bin.
check: lint
	$(VENV)/bin/python -m pytest --numprocesses $(WORKERS) --dist loadfile -m "not slow" tests/device tests/systemd $(ARGS)

lint: $(VENV)/.test
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

$(VENV)/.demo: pyproject.toml constraints.txt
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@echo "installing what the device needs into $(VENV)"
	$(PIP) --editable '.[demo]'
	touch $@

$(VENV)/.test: pyproject.toml constraints.txt
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@echo "installing what the tests need into $(VENV), TensorFlow among it: some minutes"
	$(PIP) --editable '.[test]'
	touch $@ $(VENV)/.demo

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
