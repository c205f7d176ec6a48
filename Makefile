# Two commands set up everything on a machine that has Python 3.11 or newer and make:  make book   and   make test
# `make help` lists the rest. On Windows, run make from Git Bash.

PYTHON ?= python3
REQUIREMENTS ?= requirements.lock
VENV ?= .venv

ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
PY := $(BIN)/python.exe
else
BIN := $(VENV)/bin
PY := $(BIN)/python
endif
READY := $(VENV)/.ready
SITE := _build/html
SAY := @printf '\n==> %s\n'

# Pages and notebooks keep what they draw and index in a cache of their own, not in the user's.
export RIS_CACHE ?= $(CURDIR)/_build/cache
export JUPYTER_PLATFORM_DIRS ?= 1
export PYDEVD_DISABLE_FILE_VALIDATION ?= 1
# Two test processes run side by side, one thread each.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1
# uv would hold other versions against the pins of pyproject.toml, [tool.uv].
NO_PINS = $(if $(filter requirements.lock,$(REQUIREMENTS)),,--no-config)
# The copies that the notebooks' tests run.
SOLVED := _build/solved
NOTEBOOKS = $(shell find book -name '*.ipynb' -not -path '*/.ipynb_checkpoints/*' | sort)

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help setup book pdf test test-fast lint types unit notebooks check-book check-links fuzz overfit colab assignments slides texts format lock lock-lowest lock-newest teaser clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1|/' | awk -F'|' '{printf "  make %-13s %s\n", $$1, $$2}'

setup: $(READY) ## Make .venv and install everything (only when the lock or pyproject.toml has changed)
	@echo "$(VENV) is ready"

$(READY): $(REQUIREMENTS) pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and "This project needs Python 3.11 or newer; $(PYTHON) is %d.%d. Name another one: make setup PYTHON=python3.12" % v[:2])'
	$(SAY) "installing $(REQUIREMENTS) into $(VENV) (about 6 GB; with uv under a minute, with pip some minutes)"
	@if uv --version >/dev/null 2>&1; then \
	  set -e; \
	  test -x $(PY) || uv venv --quiet --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" $(VENV); \
	  uv pip install $(NO_PINS) --quiet --python $(PY) -r $(REQUIREMENTS); \
	  uv pip install --quiet --python $(PY) --no-deps -e .; \
	else \
	  set -e; \
	  test -x $(PY) || $(PYTHON) -m venv $(VENV); \
	  $(PY) -m pip --version >/dev/null 2>&1 || $(PY) -m ensurepip; \
	  $(PY) -m pip install --disable-pip-version-check -r $(REQUIREMENTS); \
	  $(PY) -m pip install --quiet --disable-pip-version-check --no-deps -e .; \
	fi
	@touch $@

book: $(READY) ## Build the book: every page is executed, warnings are errors
	$(SAY) "building the book; every page is executed"
	@$(BIN)/jupyter-book build book --config _config.yml --path-output . -W -n --keep-going --all
	$(SAY) "the book is ready, open $(CURDIR)/$(SITE)/index.html"

test: lint types unit notebooks book check-book ## Everything: lint, types, unit tests, examples, notebooks, the built book
	$(SAY) "all checks passed"
	@$(PY) -m tests.browser

test-fast: lint ## Lint and the quick unit tests, about 3 minutes
	$(SAY) "quick unit tests"
	@$(ONE_THREAD) $(PY) -m pytest tests -q -n 2 -m "not slow and not long and not book"

lint: $(READY) ## ruff, ruff format, stripped notebooks, spelling
	$(SAY) "style, stripped notebooks, spelling"
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(if $(NOTEBOOKS),$(PY) -m nbstripout --keep-id --verify $(NOTEBOOKS),true)
	@$(PY) book/_setup_cell.py
	@$(BIN)/codespell

types: $(READY) ## The library's types, as editors see them
	$(SAY) "types"
	@$(BIN)/basedpyright --pythonpath $(PY)

unit: $(READY) ## Unit tests and the examples in docstrings
	$(SAY) "unit tests and docstring examples"
	@$(ONE_THREAD) $(PY) -m pytest --doctest-modules ris_lib tests -q -n 2 -m "not long and not book" --durations 10

# The assignments are run by the tests of their grading.
notebooks: $(READY) ## Run every cell of every notebook, with the printed solutions filled in
	$(SAY) "every cell of every notebook, with the printed solutions"
	@$(PY) -m tests.book.solved
	@$(ONE_THREAD) $(PY) -m pytest --nbval-lax --nbval-current-env --nbval-cell-timeout 300 -q -n 2 --dist loadscope -p no:cacheprovider $(SOLVED)

check-book: $(READY) ## Check the built book: links, alt text, weight, errors
	$(SAY) "checks of the built book"
	@$(ONE_THREAD) $(PY) -m pytest tests/book -q -n 2 --dist worksteal -m book --durations 10

fuzz: $(READY) ## Hostile input: 12,000 new cases
	$(SAY) "pickles, annotations, masks, pictures, archives, weights, configurations, sentences that mean no good"
	@RIS_FUZZ=20 $(ONE_THREAD) $(PY) -m pytest tests/hostile -q -n 2 --durations 10

overfit: $(READY) ## Train every tiny model on eight scenes until it knows them, half an hour
	$(SAY) "eight scenes are learnt by heart"
	@$(ONE_THREAD) $(PY) -m pytest tests -q -n 2 -m long --durations 10

# What Colab lacks is used in 04 (open_clip_torch) and 18 (tyro, widgets); 05 trains. `make colab CHAPTERS=` runs all.
CHAPTERS ?= 04 05 18
# Colab's Python, where it is here and no other was named.
COLAB_PYTHON = $(if $(filter file,$(origin PYTHON)),$(shell command -v python3.13 || echo $(PYTHON)),$(PYTHON))

colab: ## Run chapters as Colab does: its versions (5 GB in _build/colab), one file, the set-up cell
	$(SAY) "chapters in an environment like Colab's"
	@$(ONE_THREAD) $(PYTHON) -m tests.colab.check --python $(COLAB_PYTHON) $(CHAPTERS)

format: $(READY) ## Format code, strip notebooks, renew the list of outside links
	@$(PY) -m ruff check --fix --exit-zero .
	@$(PY) -m ruff format .
	@$(PY) book/_setup_cell.py --write
	@$(PY) book/_links.py
	@$(if $(NOTEBOOKS),$(PY) -m nbstripout --keep-id $(NOTEBOOKS),true)

assignments: $(READY) ## Make the assignments for students, grader and teacher (_build/assignments)
	$(SAY) "assignments: student versions, autograders, solutions"
	@$(ONE_THREAD) $(PY) -m book._assignments

slides: $(READY) ## Make lecture slides of the built book (_build/slides; PDF needs Chromium)
	$(SAY) "lecture slides"
	@$(PY) -m book._slides

texts: $(READY) ## Write the words of the book for translators, a catalogue a page (_build/texts)
	$(SAY) "catalogues for translators; nothing is executed"
	@$(PY) -m book._texts

pdf: $(READY) ## Print the built book to _build/ris-book.pdf (needs Chromium)
	$(SAY) "printing the book; some minutes"
	@$(PY) -m book._pdf

check-links: ## Visit every address in book/_links.txt (needs the network)
	@$(PYTHON) book/_links.py --visit

teaser: $(READY) ## Draw the pictures of the book's front anew: teaser.png and card.png
	@$(PY) book/_teaser.py

# uv is needed here and nowhere else. The pins stand in pyproject.toml, [tool.uv].
COMPILE = uv pip compile --extra book --extra test pyproject.toml --no-emit-index-url

lock: ## Make requirements.lock anew (needs uv)
	$(COMPILE) --universal --python-version 3.11 -o requirements.lock --custom-compile-command "make lock"

lock-lowest: ## Write _build/lowest.txt: the oldest versions that pyproject.toml allows (needs uv)
	@mkdir -p _build
	$(COMPILE) --no-config --python $(PYTHON) --resolution lowest-direct -o _build/lowest.txt

lock-newest: ## Write _build/newest.txt: the newest versions that pyproject.toml allows (needs uv)
	@mkdir -p _build
	$(COMPILE) --no-config --python $(PYTHON) --upgrade -o _build/newest.txt

clean: ## Remove the built book and all caches; .venv stays
	rm -rf _build .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +
