# Three commands on a fresh machine: make demo, make example, make test. Each sets up what it needs by itself.
SHELL := /bin/bash
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help setup demo example test test-fast test-python drill changes overhead lint format manual lock guard bench scale chip-scale against throughput gpu demo-time coverage clean

# Of the supported versions (README.md).
PYTHON ?= python3
DEVICE ?= cuda
CORES ?= $(shell nproc 2>/dev/null || echo 2)
BIN := .venv/bin

help: ## show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# uv comes from the same lock as everything else; pip only bootstraps it. Compiled modules load in a third of the time,
# which every job pays, also where nodes may not write into a shared .venv.
.venv/ready: requirements.lock
	@$(PYTHON) workflow/scripts/execution/start/interpreter.py "$(CURDIR)/$(BIN)/python"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Setting up .venv from requirements.lock (about 7 GB, mostly PyTorch) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv==$$(sed -n 's/^uv==\([^ ]*\).*/\1/p' requirements.lock)"
	@$(BIN)/uv pip sync --quiet --compile-bytecode --require-hashes --python $(BIN)/python requirements.lock
	@touch $@

setup: .venv/ready ## create .venv from requirements.lock

demo: .venv/ready ## the whole study on simulated chips: results/demo/report.html (minutes)
	@$(BIN)/snakemake --cores $(CORES) --configfile config/demo.yaml

# The commands of docs/own-data.md.
example: .venv/ready ## chips of one's own, from a folder and a table to a report and predictions (minutes)
	@PYTHONPATH=workflow/scripts $(BIN)/python -m terralucas.data.simulation.example_chips results/example-chips
	@$(BIN)/snakemake --cores $(CORES) results/example/report.html
	@$(BIN)/snakemake --cores $(CORES) --configfile config/example.yaml -- select
	@$(BIN)/snakemake --cores $(CORES) --configfile config/example.yaml --config 'predict={input: results/example-chips/new}' -- predict
	@printf 'Report:      %s\nSelection:   %s\nPredictions: %s\n' results/example/report.html \
		results/example/selected/selection.yaml results/example/predictions/new/predictions.parquet

# Six workers on two cores, because the tests of Slurm and of whole studies mostly wait.
test: .venv/ready ## all tests
	@$(BIN)/pytest -n 6 --dist loadfile --no-loadscope-reorder

test-fast: .venv/ready ## the tests that neither train nor run Snakemake, Slurm or a browser (two minutes)
	@$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow" tests/unit

# What depends on Python's version: pinned numbers, worker processes, and a tiny study.
test-python: .venv/ready ## with PYTHON=python3.13: some tests on another Python (minutes, and 7 GB until they end)
	@$(PYTHON) workflow/scripts/execution/start/interpreter.py "$(CURDIR)/.venv-other/bin/python"
	@trap 'rm -rf .venv-other' EXIT; set -e; rm -rf .venv-other; $(PYTHON) -m venv .venv-other; \
		$(BIN)/uv pip sync --quiet --require-hashes --python .venv-other/bin/python requirements.lock; \
		.venv-other/bin/pytest -n 2 --dist loadfile --no-loadscope-reorder \
			tests/unit/test_job.py tests/unit/statistics tests/unit/training/test_frozen_loop.py \
			tests/unit/training/test_losses.py tests/unit/training/test_chip_batches.py tests/unit/backbones/test_features.py \
			tests/workflow/test_start_methods.py "tests/workflow/test_study.py::test_a_run_leaves_what_the_design_promises"

drill: .venv/ready ## 60 faults on a Slurm of one's own (root, Debian's slurm and mariadb packages; about an hour)
	@PYTHONPATH=workflow/scripts:tests $(BIN)/python -m helpers.drill $(OPTIONS)

changes: .venv/ready ## random changes of a study, after which its tables must be those of one from nothing (an hour)
	@PYTHONPATH=workflow/scripts:tests $(BIN)/python -m helpers.changes $(OPTIONS)

overhead: .venv/ready ## what SLURM costs a run, packed and not (likewise)
	@PYTHONPATH=tests $(BIN)/python benchmarks/slurm_overhead.py

lint: .venv/ready ## ruff, mypy, snakefmt and Snakemake's own linter
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/snakefmt --check Snakefile workflow
	@$(BIN)/snakemake --lint

format: .venv/ready ## mend what lint can mend
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .
	@$(BIN)/snakefmt Snakefile workflow

manual: .venv/ready ## rewrite the tables of config/README.md from the schema
	@PYTHONPATH=workflow/scripts $(BIN)/python -m terralucas.study.manual config/README.md

guard: .venv/ready ## that nothing became much slower: ratios beside wide limits (two minutes)
	@PYTHONPATH=workflow/scripts OMP_NUM_THREADS=1 TQDM_DISABLE=1 $(BIN)/python -m benchmarks.guard

bench: .venv/ready ## the training loop beside the barest loop; time and memory of the feature pass; stacked heads
	@PYTHONPATH=workflow/scripts $(BIN)/python -m benchmarks.training_loop
	@PYTHONPATH=workflow/scripts $(BIN)/python -m benchmarks.feature_pass
	@PYTHONPATH=workflow/scripts $(BIN)/python -m benchmarks.feature_memory
	@PYTHONPATH=workflow/scripts $(BIN)/python -m benchmarks.batched_heads

scale: .venv/ready ## dry runs, tables and report of studies with 80, 1,000 and 10,000 runs (hours)
	@PYTHONPATH=workflow/scripts $(BIN)/python -m benchmarks.dry_runs
	@PYTHONPATH=workflow/scripts OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.report_scale

chip-scale: .venv/ready ## how index, splits, training and joining of features grow with the number of chips (minutes)
	@PYTHONPATH=workflow/scripts OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.chip_scale

against: .venv/ready ## CPU time of the grid through TerraTorch's own pipeline and on stored features (minutes)
	@PYTHONPATH=workflow/scripts OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.against_terratorch

throughput: .venv/ready ## chips per second of tuned runs, and the share of time they wait for chips (on a GPU if there is one)
	@PYTHONPATH=workflow/scripts $(BIN)/python -m benchmarks.tuning_throughput

gpu: .venv/ready ## all of it on a GPU: passes beside the limit of matrix products, tuned steps, heads, the study of 80 runs
	@PYTHONPATH=workflow/scripts $(BIN)/python -m benchmarks.forward_limit --device $(DEVICE)
	@for size in tiny small base large; do PYTHONPATH=workflow/scripts $(BIN)/python -m benchmarks.feature_pass \
		--device $(DEVICE) --model terramind_v1_$$size --chips 1994 --batch 128 --workers 8 --rounds 2; done
	@PYTHONPATH=workflow/scripts $(BIN)/python -m benchmarks.tuning_throughput
	@PYTHONPATH=workflow/scripts $(BIN)/python -m benchmarks.batched_heads --device $(DEVICE)
	@PYTHONPATH=workflow/scripts $(BIN)/python -m benchmarks.study_time

demo-time: .venv/ready ## seconds of the demo beside those of another commit: make demo-time AGAINST=v0.1.0 (minutes)
	@PYTHONPATH=workflow/scripts $(BIN)/python -m benchmarks.demo_time --against $(AGAINST)

coverage: .venv/ready ## coverage of the intervals and errors of the tests, on simulated studies with a known truth
	@PYTHONPATH=workflow/scripts $(BIN)/python -m benchmarks.coverage

lock: .venv/ready ## pin the dependencies of pyproject.toml anew
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --group dev --no-annotate --no-header --no-emit-index-url \
		pyproject.toml --output-file requirements.lock > /dev/null

clean: ## remove all results, but not downloads and .venv
	@find results -mindepth 1 -maxdepth 1 ! -name README.md -exec rm -rf {} +
