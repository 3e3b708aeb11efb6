# `make help` lists the targets. Everything runs in .venv, created from the pinned requirements.
PYTHON ?= python3
CORES ?= $(shell env -u OMP_NUM_THREADS nproc)
VENV := .venv
PEERS := $(or $(PEERS_VENV),.venv-peers)
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
SNAKEMAKE := snakemake --cores $(CORES)
PIP := pip install --quiet --disable-pip-version-check --no-compile
# pip compiles on a single core.
COMPILE := python -m compileall -qq -j 0 -x '/tests?/|/testing/_internal/|/(sqlalchemy|playwright|docutils|pip|setuptools)/'

.DEFAULT_GOAL := help
.PHONY: help demo small record test lint format bench report clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.runtime ## run the whole paper at a small scale, on real text, on a CPU (18 to 32 minutes on two cores)
	@$(SNAKEMAKE) --configfile config/demo.yaml
	@reluformer overview --config config/demo.yaml

small: $(VENV)/.runtime ## run real IWSLT14 and Europarl7 at a size for two cores, in stages (about twenty hours; ARCHIVES=DIR)
	@for stage in main constants documents sizes; do \
	  $(SNAKEMAKE) --configfile config/small.yaml --config stage=$$stage $(if $(ARCHIVES),archives=$(ARCHIVES)) || exit; \
	done

record: $(VENV)/.runtime ## recompute every table, figure, p-value and verdict of record/ and compare them with those committed (2 minutes, no corpora)
	@reluformer record --check --cores $(CORES) --paper build/record

test: $(VENV)/.dev ## run the tests (those of services that are not installed are skipped, with the reason)
	@timeout -k 30 3600 pytest -n $$(( $(CORES) + 1 )) $(PYTEST_ARGS)  # one more than cores, because the SLURM tests mostly wait

lint: $(VENV)/.dev ## run ruff, mypy, import-linter, snakefmt, snakemake --lint
	@ruff check .
	@ruff format --check .
	@mypy
	@lint-imports
	@snakefmt --check Snakefile workflow
	@pytest -q tests/workflow/test_lint.py

format: $(VENV)/.dev ## format Python and Snakemake files, regenerate the schemas and config/README.md
	@ruff check --fix .
	@ruff format .
	@snakefmt Snakefile workflow
	@reluformer schemas workflow/schemas --reference config/README.md

bench: $(VENV)/.dev $(PEERS)/.made ## compare speed and memory with other software, as ratios measured side by side
	@PEERS_VENV=$(PEERS) python -m benchmarks --save $(BENCHMARKS)

report: $(VENV)/.runtime ## rebuild the report of the last configuration that was run
	@$(SNAKEMAKE) --forcerun report --configfile $(firstword $(wildcard results/paper/config.json) config/config.yaml) -- results/paper/report.html

clean: ## remove results, logs, checkpoints and the virtual environments; downloads stay
	rm -rf results/corpora results/runs results/paper results/tensorboard logs checkpoints .snakemake $(VENV) .venv-peers

# One pip call for either set of requirements; the dev set includes the runtime set.
$(VENV)/.runtime $(VENV)/.dev: $(VENV)/.%: requirements.txt requirements-dev.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/$(PIP) -r requirements$(if $(filter dev,$*),-dev).txt --editable .
	@$(VENV)/bin/$(COMPILE) $(VENV)/lib || true
	@touch $(VENV)/.runtime $@

$(PEERS)/.made: benchmarks/peers.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/pip install --quiet --disable-pip-version-check -r benchmarks/peers.txt
	$(PEERS)/bin/pip install --quiet --disable-pip-version-check --no-deps joeynmt==2.3.0
	@touch $@
