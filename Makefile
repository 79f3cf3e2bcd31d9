# Everything from a fresh clone: Linux or macOS, Python 3.11 or newer, git, make.
#
#   make train    set up; record a script, clone it, improve the clone, compare, promote: some minutes, in runs/town-...
#   make test     set up, run all tests
#   make check    set up, lint, types, import contracts, all tests
#   make faults   set up, kill runs and releases 400 times, and refuse, fill and cut what they write to: some minutes
#   make fuzz     set up, give the loaders hostile files for FUZZ_SECONDS=60, guided by coverage
#   make setup    only the virtual environment .venv
#   make clean    remove .venv and everything that tools left behind; runs/ stays
#
# PYTHON=python3.12       the interpreter to build .venv with
# TORCH_INDEX_URL=URL     install torch, and only torch, from this index (a CPU build, for example)
# PYTEST_ARGS="-n 0 -k x" arguments of pytest

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup train test check lint faults fuzz clean

PYTHON ?= python3
PYTEST_ARGS ?= -n auto
FUZZ_SECONDS ?= 60

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.setup-done
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
DISTRIBUTIONS := townlet_core townlet_strategies_bc townlet_strategies_ppo townlet_strategies_anneal
SOURCES := $(addsuffix /src,$(DISTRIBUTIONS))
DEV := build coverage editables h5py hatchling hypothesis import-linter jsonschema minari mpe2 mypy pettingzoo pillow pytest pytest-timeout pytest-xdist ruff selenium stable-baselines3 types-PyYAML

help:
	@sed -n 's/^#   //p' Makefile

setup: $(STAMP)

# --no-deps: an index of torch builds need not hold torch's own dependencies; the next line installs those.
$(STAMP): Makefile constraints.txt $(addsuffix /pyproject.toml,$(DISTRIBUTIONS))
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("error: Townlet needs Python 3.11 or newer, and " + sys.executable + " is " + sys.version.split()[0] + "; name a newer one: make PYTHON=python3.12 setup")'
	@echo "Setting up $(VENV); this takes a few minutes once."
	$(PYTHON) -m venv $(VENV)
	$(if $(TORCH_INDEX_URL),$(PIP) --no-deps --index-url $(TORCH_INDEX_URL) torch)
	$(PIP) torch $(DEV)
	$(PIP) --no-build-isolation $(addprefix --editable ./,$(DISTRIBUTIONS))
	@touch $@

train: $(STAMP)
	@PATH="$(CURDIR)/$(BIN):$$PATH" examples/town/demo.sh

test: $(STAMP)
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy $(SOURCES)
	$(BIN)/lint-imports

check: lint test

# One after the other: what is killed at random moments is not to wait for its neighbours.
faults: $(STAMP)
	TOWNLET_KILLS=400 $(BIN)/python -m pytest -n 0 tests/faults tests/ppo/test_faults.py tests/ppo/test_exact_resume.py tests/ppo/test_replayed_resume.py \
		tests/anneal/test_killed_anneal.py tests/releases/test_release_faults.py tests/releases/test_release_system_calls.py

# Not one of DEV: it has wheels for few Pythons, and building it takes LLVM. Where there is none, run.py says so.
fuzz: $(STAMP)
	-@$(PIP) --only-binary atheris atheris
	$(BIN)/python tests/fuzz/run.py --seconds $(FUZZ_SECONDS)

clean:
	rm -rf $(VENV) build dist .coverage .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find townlet_* tests docs -name __pycache__ -type d -prune -exec rm -rf {} +
