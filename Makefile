# Everything sets itself up: `make rag` on a fresh machine needs Python 3.11 or newer and this file's make (3.81 will do).

VENV ?= .venv
# On Linux the package index serves a torch that brings gigabytes of GPU libraries; this one is the CPU build.
# `make rag TORCH_INDEX=` takes torch from the usual index; so does a machine that cannot reach this one.
TORCH_INDEX ?= $(if $(filter Linux,$(shell uname -s)),https://download.pytorch.org/whl/cpu)

# Tests at once; WORKERS=0 runs them one by one, for a debugger.
WORKERS ?= 2

BIN := $(VENV)/bin
READY := $(VENV)/.ready
READY_DEV := $(VENV)/.ready-dev
PIP := $(BIN)/python -m pip --disable-pip-version-check
PINNED := -c constraints.txt
TORCH := install --no-deps --retries 2 $(PINNED) $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) torch

# The first of these that is new enough and can make environments; PYTHON=… names another.
CANDIDATES := $(or $(PYTHON),python3 python3.13 python3.12 python3.11)
USABLE := import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))
define find_python
python=; \
for candidate in $(CANDIDATES); do \
  if "$$candidate" -c '$(USABLE)' 2>/dev/null; then python=$$candidate; break; fi; \
done; \
if [ -z "$$python" ]; then \
  echo "llmdrill needs Python 3.11 or newer with its venv module. Looked at:" >&2; \
  for candidate in $(CANDIDATES); do \
    echo "  $$candidate: $$("$$candidate" --version 2>/dev/null || echo not installed)" >&2; \
  done; \
  echo "Install one (macOS: brew install python@3.13; Debian, Ubuntu: apt install python3-venv)," >&2; \
  echo "or name it: make $(or $(MAKECMDGOALS),rag) PYTHON=/path/to/python3.11" >&2; \
  exit 2; \
fi
endef

.PHONY: help rag demo test check lint format docs constraints clean
.DEFAULT_GOAL := help

help:
	@echo "make rag          set up, then walk through the rag scenario"
	@echo "make demo         set up, then show a finished walk, measured on this machine"
	@echo "make test         set up with the development tools, then run every test"
	@echo "make check        format, lint, types and import rules, then every test"
	@echo "make format       put the code into its format"
	@echo "make docs         write the generated pages again"
	@echo "make constraints  resolve every version anew and pin it"
	@echo "make clean        remove caches and builds (the environment stays: rm -r $(VENV))"

rag: $(READY)
	@$(BIN)/llmdrill design rag $(ARGS)

demo: $(READY)
	@$(BIN)/llmdrill design rag --demo $(ARGS)

test: $(READY_DEV)
	$(BIN)/python -m pytest -n $(WORKERS) $(ARGS)

check: lint test

lint: $(READY_DEV)
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY_DEV)
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

docs: $(READY_DEV)
	@if [ -f docs/generate.py ]; then $(BIN)/python docs/generate.py; else echo "nothing is generated yet"; fi

# An environment that works is brought up to date in place; one that is absent, broken or too old is made anew.
define make_environment
if [ -e $(VENV) ] && [ ! -e $(VENV)/pyvenv.cfg ]; then echo "$(VENV) is no environment; move it away" >&2; exit 2; fi; \
$(find_python); \
echo "Making $(VENV) with $$("$$python" --version); about 1.5 GB, once."; \
"$$python" -m venv --clear $(VENV)
endef

$(BIN)/python:
	@$(make_environment)

$(READY): $(BIN)/python pyproject.toml constraints.txt
	@if ! $(BIN)/python -c '$(USABLE)' 2>/dev/null; then $(make_environment); fi
	$(PIP) $(TORCH)
	$(PIP) install $(PINNED) -e '.[all]'
	@touch $@

# `--group` came with pip 25.1, newer than the pip that Python 3.11 to 3.13 put into a new environment.
$(READY_DEV): $(READY)
	$(PIP) install --upgrade $(PINNED) pip
	$(PIP) install $(PINNED) --group dev
	@touch $@

# torch stays as pinned, because choosing it is choosing what everybody downloads: edit its line to move it.
FRESH := build/constraints
constraints:
	@$(find_python); "$$python" -m venv --clear $(FRESH)
	grep '^torch==' constraints.txt > $(FRESH)/keep.txt
	$(MAKE) VENV=$(FRESH) PINNED='-c $(FRESH)/keep.txt' $(FRESH)/.ready-dev
	$(FRESH)/bin/python -m pip install -c $(FRESH)/keep.txt build hatchling
	@{ \
	  echo "# Every version that is installed for 'make rag', 'make test' and .ci/run, resolved in a clean environment by"; \
	  echo "#   make constraints"; \
	  echo "# torch without a local part: '2.13.0' is met by the CPU build 2.13.0+cpu and by macOS's 2.13.0."; \
	  $(FRESH)/bin/python -m pip freeze --all --exclude-editable | sed 's/+cpu$$//'; \
	} > $(FRESH)/constraints.txt
	mv $(FRESH)/constraints.txt constraints.txt
	rm -r $(FRESH)

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find llmdrill tests benchmarks docs training -name __pycache__ -type d -prune -exec rm -r {} +
