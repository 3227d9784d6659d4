# The two commands of the README are `make train` and `make test`; both set up .venv by themselves.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
export RAY_USAGE_STATS_ENABLED := 0
# Compiled once, not in each of the many processes that Ray and the tests start.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: train test setup lint types slow learning bench bench-check ray-next clean data

train: $(STAMP)
	$(BIN)/rllib train --file tuned_examples/overcooked.yaml

# Two processes, in which the tests of a file stay together; with one it is `pytest` alone.
test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

setup: $(STAMP)

# Stale when what is to be installed has changed; the editable install picks up the code itself. Python compiles what is
# imported when it is: compiling all of it takes as long as installing.
$(STAMP): pyproject.toml constraints.txt
	@echo "setting up $(VENV): about 100 packages, a minute or two the first time"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --no-compile -c constraints.txt -e '.[dev]'
	@touch $@

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

slow: $(STAMP)
	$(BIN)/python -m pytest -m slow -n 2 --dist worksteal

learning: $(STAMP)
	$(BIN)/python -m pytest -m learning

# The first writes ratios, which hold on a busy machine too, to docs/results/benchmarks.json and .png; the second compares with
# them, after the promised speeds, which need a machine that does nothing else.
bench: $(STAMP)
	$(BIN)/python tests/benchmarks/bench.py

bench-check: $(STAMP)
	$(BIN)/python -m pytest -m benchmark
	$(BIN)/python tests/benchmarks/bench.py --check

# Which of Ray's names that this package relies on has the newest Ray dropped? In a venv that is thrown away; no part of CI.
ray-next:
	venv=$$(mktemp -d) && trap 'rm -rf "$$venv"' EXIT && \
	$(PYTHON) -m venv $$venv && \
	$$venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]' && \
	$$venv/bin/python -m pip install --quiet --disable-pip-version-check --upgrade 'ray[rllib,tune]' && \
	$$venv/bin/python -c 'import ray; print("Ray", ray.__version__)' && \
	$$venv/bin/python -m pytest tests/unit/test_ray_internals.py

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache
