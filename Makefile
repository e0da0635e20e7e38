# `make repro` builds the study, `make test` the quick tests; both install what they need first.
# An active environment (venv, conda, but not conda's base) is used; without one, .venv is made with PYTHON.

PYTHON ?= python3
ENV := $(or $(VIRTUAL_ENV),$(if $(filter-out base,$(CONDA_DEFAULT_ENV)),$(CONDA_PREFIX)),$(CURDIR)/.venv)
BIN := $(ENV)/bin
STAMP := $(ENV)/.installed-requirements
RUN := PATH="$(BIN):$$PATH"
# Test files side by side, one for each core, four at most: each may hold two gigabytes. What a file's tests share is built once.
PYTEST := $(RUN) python -m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

.PHONY: help repro repro-parallel check test test-slow lint gpu-check bench compare ablation install repository

help:
	@echo 'make repro                  everything from raw bytes to report/index.html, independent stages side by side'
	@echo 'make repro JOBS=1           one stage at a time, with all cores (make repro-parallel is the same as make repro)'
	@echo 'make check                  is params.yaml valid?'
	@echo 'make compare EXPS="a b"     experiments, branches or commits side by side: report/compare.html'
	@echo 'make ablation               the claims of ablation.yaml put to the test: metrics/ablation.csv; ONLY="a b" some of them, JOBS=2 at a time'
	@echo 'make test                   the quick tests, with one smoke run of the whole graph'
	@echo 'make test-slow              the other tests'
	@echo 'make lint                   style and format, by ruff'
	@echo 'make bench                  how much faster than plainly written code'
	@echo 'make gpu-check              does everything work on this GPU, how fast, how long would paper and best take?'

repro: check repository
	$(RUN) python -m stages.runtime.repro $(if $(JOBS),--jobs "$$JOBS")
	@echo "Open report/index.html; the figures are in metrics/summary.json, the pictures in plots/."

repro-parallel: repro

# EXPS reaches the program through the environment.
compare: install
	@$(RUN) python -m stages.report.compare

# ONLY and JOBS do likewise.
ablation: check
	@$(RUN) python -m stages.report.ablation

check: install
	@$(RUN) python -m stages.runtime.params

test: install repository
	$(PYTEST) -m "not slow"

test-slow: install repository
	$(PYTEST) -m slow

lint: install
	$(RUN) ruff check .
	$(RUN) ruff format --check .

gpu-check: install
	$(RUN) python -m benchmarks.gpu_check

bench: install
	$(RUN) python -m benchmarks

NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11) and "error: Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "; name another: make PYTHON=python3.12 ...")

# Quoted throughout, since the folder's name may hold spaces, which make's own file rules can't do.
install:
	@test -x "$(BIN)/python" || { $(PYTHON) -c '$(NEW_ENOUGH)' && echo "Making $(ENV)" && $(PYTHON) -m venv "$(ENV)"; }
	@test "$(STAMP)" -nt requirements.txt || { "$(BIN)/python" -c '$(NEW_ENOUGH)' \
	  && { "$(BIN)/python" -m pip --version > /dev/null 2>&1 || "$(BIN)/python" -m ensurepip; } \
	  && "$(BIN)/python" -m pip install -r requirements.txt && touch "$(STAMP)"; }

# An unpacked archive has no .git, and DVC asks for one.
repository: install
	@test -e .git || { \
	  if command -v git > /dev/null; then git init -q . && echo "No git repository here: made an empty one, since DVC works inside git. Commit before you use 'dvc exp' or 'dvc metrics diff'."; \
	  else $(RUN) dvc config --local core.no_scm true && echo "No git here: DVC runs without it; 'dvc exp' and 'dvc metrics diff' need git."; fi; }
