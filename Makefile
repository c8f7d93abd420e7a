# A machine with Python 3.11 or newer and make is enough: `make train` and `make test` set everything up first.
# Overrides of a run: make train ARGS="steps=50". Another Python: make train PYTHON=python3.13.

MAKEFLAGS += --no-print-directory
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help setup train test lint format lock clean

PYTHON ?= python3
ARGS ?=
VENV := .venv
UV := $(VENV)/bin/uv
INSTALL := "$(UV)" pip install --quiet --python $(VENV)/bin/python
export UV_HTTP_TIMEOUT ?= 300

# uv does not read pip's settings: a mirror or a certificate that the machine has set for pip is handed on.
define pip_settings
setting() { $(VENV)/bin/python -m pip config get "$$1.$$2" 2>/dev/null || true; }; \
index=$${UV_DEFAULT_INDEX:-$${PIP_INDEX_URL:-$$(setting global index-url)}}; \
certificate=$${SSL_CERT_FILE:-$${PIP_CERT:-$$(setting global cert)}}; \
if [ -n "$$index" ]; then export UV_DEFAULT_INDEX="$$index"; fi; \
if [ -n "$$certificate" ]; then export SSL_CERT_FILE="$$certificate"; fi
endef

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1	/p' Makefile | while IFS='	' read -r name text; do printf '  make %-8s%s\n' "$$name" "$$text"; done

setup: $(VENV)/.installed ## make .venv with the locked packages and scumble itself

train: setup ## train the default model on the bundled sample set; ARGS="steps=50" overrides
	@$(VENV)/bin/scumble train $(ARGS)

test: setup ## the quick tests; ARGS="-m slow" for the others
	@$(VENV)/bin/python -m pytest $(ARGS)

lint: setup ## ruff, mypy, codespell and nbstripout, on all files that git does not ignore
	@git ls-files --cached --others --exclude-standard -z | xargs -0 $(VENV)/bin/pre-commit run --files

format: setup ## fix what ruff and nbstripout can fix
	@$(VENV)/bin/ruff check --quiet --fix-only . && $(VENV)/bin/ruff format --quiet .
	@git ls-files --cached --others --exclude-standard -z -- '*.ipynb' | xargs -0 -r $(VENV)/bin/nbstripout

lock: $(UV) ## bring requirements.lock up to date with pyproject.toml; ARGS="--upgrade" for the newest versions
	@$(pip_settings); "$(UV)" pip compile pyproject.toml --quiet --group dev --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header $(ARGS) \
		--output-file requirements.lock

clean: ## remove .venv and the caches of the tools; runs/ stays
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis dist

# The environment. A missing or broken .venv is made anew, and a change of the lock or of pyproject.toml is installed.

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' || { \
		echo "scumble needs Python 3.11 to 3.14, and $(PYTHON) is $$($(PYTHON) --version 2>&1)."; \
		echo "Install one and name it: make setup PYTHON=python3.12"; exit 1; } >&2
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) has no venv module. On Debian and Ubuntu: apt-get install python3-venv"; exit 1; } >&2
	@echo "making $(VENV)"
	@$(PYTHON) -m venv --clear $(VENV)

$(UV): | $(VENV)/bin/python
	@sed -n '/^uv==/,/[^\\]$$/p' requirements.lock > $(VENV)/uv.txt
	@PIP_USER=0 $(VENV)/bin/python -m pip install -qq --disable-pip-version-check --no-deps --only-binary :all: \
		--require-hashes -r $(VENV)/uv.txt

$(VENV)/.locked: requirements.lock | $(UV)
	@echo "installing the packages of requirements.lock (a few minutes the first time, PyTorch is large)"
	@$(pip_settings); $(INSTALL) --require-hashes --build-constraints requirements.lock -r requirements.lock
	@touch $@

$(VENV)/.installed: pyproject.toml $(VENV)/.locked
	@$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@
