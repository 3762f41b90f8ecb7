# Each word sets up its own .venv when it is not there yet, and may be run twice.
PYTHON ?= python3
# what is compiled once is kept for all processes
RUN := env -u PYTHONDONTWRITEBYTECODE .venv/bin
# a process a core, and no more threads than that
ALONE := OMP_NUM_THREADS=1

# with -j too one word after the other: two would install into one .venv at once
.NOTPARALLEL:

.PHONY: article quick test lint types docs site bench rivals third-party

article: .venv/lean          ## every figure, number and the study of the article, into figures/
	$(RUN)/ravine article --out figures --force

quick: .venv/ready           ## a cut through every part in under a minute, between two edits
	$(ALONE) $(RUN)/python -m pytest -q -n auto --dist loadfile -m quick $(shell grep -l "mark\.quick" tests/*.py)

test: .venv/ready            ## all tests, warnings as errors
	$(ALONE) $(RUN)/python -m pytest -q -n auto --dist worksteal

lint: .venv/ready
	$(RUN)/ruff check . && $(RUN)/ruff format --check .

types: .venv/ready
	$(RUN)/mypy

docs: .venv/ready            ## draws the pictures of the README and of docs/ again
	$(RUN)/python docs/draw.py

site: .venv/ready            ## the pages of docs/ with the reference, into site/, to be read in any browser
	rm -rf site docs/made
	$(RUN)/python -m sphinx -W --keep-going -q -b html docs site

bench: .venv/ready           ## ratios, measured side by side in one run
	$(RUN)/python benchmarks/run.py

rivals: .venv/ready          ## the same sweep in JAX, on which nothing of ravine depends
	$(RUN)/python -m pip install --quiet -c constraints.txt jax
	$(RUN)/python benchmarks/rivals.py

third-party: .venv/ready     ## optimizers, trainers and loggers of other packages; guards no change: these come and go
	$(RUN)/python -m pip install --quiet -c constraints.txt -e ".[trainers]" pytorch_optimizer tensorboard wandb
	$(RUN)/python -m pytest -q checks

KERNEL := hatch_build.py $(wildcard src/ravine/_kernel/*.[ch]) src/ravine/_kernel/build.py

# modules are compiled as they are first imported: most of them never are
INSTALL := $(RUN)/python -m pip install --quiet --no-compile -c constraints.txt

.venv/bin/python:
	@echo "setting up .venv, once"
	$(PYTHON) -m venv .venv
	$(INSTALL) --upgrade pip

.venv/lean: pyproject.toml constraints.txt $(KERNEL) | .venv/bin/python  # what ravine itself needs
	@echo "installing torch and what draws"
	$(INSTALL) -e .
	touch $@

.venv/ready: pyproject.toml constraints.txt $(KERNEL) | .venv/bin/python  # and what tests, checks and documents it
	@echo "installing torch, what draws, and what tests and documents ravine"
	$(INSTALL) -e ".[dev]"
	touch .venv/lean $@
