# Every target works on a fresh clone: it sets up .venv first, in a fraction of a second when nothing is left to do.
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help install demo tuning results figures report test test-all lint format bench clean
unexport VIRTUAL_ENV PYTHONPATH PYTHONHOME

python := .venv/bin/python
SCALE ?= laptop
DEVICE ?= cpu
# All that the paper's figures need; last, what needs data that do not come with the package. At paper scale nothing is
# tuned: the figures show the published settings there.
experiments := $(addprefix permuted_mnist/,methods step_sizes widths rates_of_change)
ifeq ($(SCALE),paper)
experiments += continual_imagenet/step_sizes continual_imagenet/methods
else
experiments += $(addprefix permuted_mnist/,tuned published_size tuned_published_size width_2000) \
	$(addprefix continual_imagenet/,step_sizes tuned more_methods)
endif

help: ## List the targets (this)
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile

install: ## Set up .venv or repair it; PYTHON=python3.12 chooses the interpreter
	@sh scripts/setup_environment.sh

demo: install ## Train BP and CBP on the embedded digits, five seeds each, and draw the figure
	$(python) -m cbp_experiments -m experiment=demo
	$(python) scripts/figures.py demo

tuning: install ## Choose the settings that `results` compares, on seeds of their own; what is chosen already stays
	$(python) -m cbp_experiments tune -m learner=bp,l2,snp,dropout,onlinenorm,adam,cbp,linear
	$(python) -m cbp_experiments tune -m tuning=published_size learner=bp,l2,snp,dropout,onlinenorm,adam,cbp,linear
	$(python) -m cbp_experiments tune -m data=continual_imagenet learner=bp,l2,snp,cbp

results: install ## Train what the paper's figures need and is not there yet; SCALE=paper: at the published size
	@failed=0; \
	for experiment in $(experiments); do \
		$(python) -m cbp_experiments -m experiment=$$experiment scale=$(SCALE) || failed=$$?; \
		if [ $$failed -ge 128 ]; then break; fi; \
	done; \
	exit $$failed

figures: install ## Draw all figures that there are results for, without training
	$(python) scripts/figures.py --scale $(SCALE)

report: install ## Write results/report.html: all figures, and what they say to the paper
	$(python) scripts/report.py --scale $(SCALE)

test: install ## Run the tests, except the slow ones
	$(python) -m pytest -n auto -m "not slow"

test-all: install ## Run all tests
	$(python) -m pytest -n auto

lint: install ## Check style (ruff) and types (mypy)
	$(python) -m ruff check .
	$(python) -m ruff format --check .
	$(python) -m mypy

format: install ## Put the code in the style that lint asks for
	$(python) -m ruff check --fix .
	$(python) -m ruff format .

bench: install ## Measure the engines against a plain PyTorch loop; BASELINE=file: against an earlier table; DEVICE=cuda
	$(python) scripts/bench.py --device $(DEVICE) $(if $(BASELINE),--baseline $(BASELINE))

clean: ## Remove .venv, builds and caches; results and data stay
	rm -rf .venv build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find cbp_experiments scripts tests -name __pycache__ -prune -exec rm -rf {} +
