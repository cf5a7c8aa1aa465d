# Everything from a fresh clone: `make run` (the default study) and `make test`.
# Variables: PYTHON=python3.12  CORES=4  ARGS="further options of snakemake or pytest"

PYTHON ?=
CORES ?= $(shell nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)
# Jobs wait for one another rather than fill the memory.
MEMORY_MB ?= $(shell awk '/^MemTotal/ {print int($$2 / 1024 * 0.9)}' /proc/meminfo 2>/dev/null)
UV = uv==0.13.9
BIN = .venv/bin

.DEFAULT_GOAL := help
.PHONY: help setup run unlock test test-long test-slurm test-conda bench format reference lint \
  lock demo-clean

help:
	@echo 'make run         install into .venv, then run the study of config.yaml to its report'
	@echo 'make unlock      after a crash or power cut: free the folder for the next run'
	@echo 'make test        install into .venv, then run the tests'
	@echo 'make test-long   whole studies: interruptions, leaks, same bytes (a quarter of an hour)'
	@echo 'make test-slurm  faults of a cluster, on the Slurm testbed beside the checkout (as root)'
	@echo 'make test-conda  one environment for each rule, on the conda testbed beside the checkout'
	@echo 'make bench       measure how fast it is, for docs/benchmarks.md (ARGS="planning": a part)'
	@echo 'make setup       install into .venv only'
	@echo 'make format      format Python and Snakemake files, list those that a git host serves'
	@echo 'make reference   write docs/reference, docs/steps.md, the reference study and the schema'
	@echo 'make lint        what CI asks of the files'
	@echo 'make lock        resolve requirements.in into requirements.lock and envs/*.yaml'
	@echo 'make demo-clean  remove the results of the default study'

# The problem goes through make's own error, so that it is the one line that is printed.
setup:
	$(eval PROBLEM := $(shell PYTHON="$(PYTHON)" sh envs/setup.sh check))
	$(if $(PROBLEM),$(error $(PROBLEM)))
	@PYTHON="$(PYTHON)" sh envs/setup.sh install

run: setup
	$(BIN)/snakemake --cores $(CORES) $(if $(MEMORY_MB),--resources mem_mb=$(MEMORY_MB)) $(ARGS)

unlock: setup
	$(BIN)/snakemake --unlock $(ARGS)

test: setup
	$(BIN)/python -m pytest $(ARGS)

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/snakefmt Snakefile workflow
	@git ls-files --cached --others --exclude-standard config.yaml CITATION.cff requirements.lock \
	  workflow/multiloss workflow/phantom workflow/schemas workflow/scripts | LC_ALL=C sort >workflow/files.txt

# What the code says of itself, for readers and for editors.
reference: setup
	PYTHONPATH=workflow $(BIN)/python -m multiloss.config.reference
	$(BIN)/python docs/steps.py
	$(BIN)/python docs/reference_study.py

# The smallest study several times over: interrupted, with exchanged test labels, same bytes.
test-long: setup
	$(BIN)/python -m pytest -m slow -n 0 \
	  --ignore tests/workflow/test_slurm.py --ignore tests/workflow/test_conda.py $(ARGS)

# Jobs over their memory or time, cancelled, orphaned; replicates added afterwards.
test-slurm: setup
	$(BIN)/python -m pytest -m slow -n 0 $(ARGS) tests/workflow/test_slurm.py

# The smallest study with --sdm conda, and two faulty environments that must fail.
test-conda: setup
	$(BIN)/python -m pytest -m slow -n 0 $(ARGS) tests/workflow/test_conda.py

# Parts, each in one file: benchmarks/speed_parts/.
bench: setup
	$(BIN)/python benchmarks/speed.py $(ARGS)

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint

# One set of versions for all supported Pythons. What is pinned stays unless ARGS=--upgrade.
# The resolver lives in an environment of its own that goes again.
lock:
	@tools=$$(mktemp -d) && trap 'rm -rf "$$tools"' EXIT && \
	"$(or $(PYTHON),python3)" -m venv "$$tools" && \
	"$$tools/bin/python" -m pip install --quiet --disable-pip-version-check '$(UV)' && \
	"$$tools/bin/python" -m uv pip compile requirements.in --output-file requirements.lock \
	  --universal --python-version 3.11 --fork-strategy fewest --generate-hashes --no-header \
	  --quiet $(ARGS) && \
	"$$tools/bin/python" envs/update.py && \
	git --no-pager diff --stat -- requirements.lock envs

demo-clean:
	rm -rf results/demo
