# `make lab` and `make test` do all of their own set-up. Bare `make` prints this help.
# Plain GNU make 3.81 and a POSIX shell are enough, so a Mac's own make will do.

VENV        := .venv
# Holds the folder that the environment was made for; written when all of it is in place.
READY       := $(VENV)/.ready
RUN         := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)/python
# `make test CONSTRAINTS=` takes the newest versions in place of the tested ones.
CONSTRAINTS := constraints.txt
# The first of these that is new enough makes .venv; `make PYTHON=...` names your own.
PYTHON      ?=
PYTHONS     := $(or $(PYTHON),python3.11 python3.12 python3.13 python3.14 python3 python)

.DEFAULT_GOAL := help
.PHONY: help lab test quick test-portable test-sse test-avx2 setup lint notebooks exercises release bench bench-gpu clean FORCE

help: ## Print this help
	@echo "minipeft: parameter-efficient fine-tuning, built from scratch"
	@echo
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1@\2/p' Makefile | awk -F@ '{ printf "%-22s%s\n", $$1, $$2 }'

lab: setup ## Open your copies of the lessons, in workbook/, in JupyterLab
	$(RUN) scripts/lab.py $(LAB_FLAGS)

# A file of tests, or a lesson, goes to one of two workers as a whole; in order, or the browser's few
# long tests would come last, when the other worker has nothing left to do.
PYTEST      := -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(PYTEST_FLAGS)
# What computes with fractions: the rest is the same on every processor.
NUMERIC     := tests/base tests/core tests/course tests/models tests/quant
# Of the three families of models, Llama's; what takes seconds is left to `make test`.
QUICK       := tests/core tests/course tests/models tests/quant/test_linear4bit.py \
               tests/quant/test_nf4.py -m "not slow" -k "not bert and not gpt2"
# Kinds of processor that this one can stand in for: PyTorch's own loops, oneDNN, MKL.
SSE         := ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 MKL_ENABLE_INSTRUCTIONS=SSE4_2
AVX2        := ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2

# `make test TESTS=tests/core` takes only those.
TESTS       ?=

test: setup ## Run every test (about half an hour on two cores)
	$(RUN) $(PYTEST) $(TESTS)

quick: lint ## Lint and the tests of the numeric core (two minutes on two cores)
	$(RUN) $(PYTEST) $(QUICK)

test-portable: test-sse test-avx2 ## Run lessons and numbers once more, rounded as older processors do

test-sse: setup
	$(SSE) $(RUN) $(PYTEST) $(NUMERIC) notebooks $(wildcard solutions)

test-avx2: setup
	$(AVX2) $(RUN) $(PYTEST) $(NUMERIC) notebooks $(wildcard solutions)

setup: $(READY) ## Make .venv with all that lessons and tests need (the others do it for you)

lint: setup ## Check style, formatting and the direction of imports
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(VENV)/$(notdir $(patsubst %/,%,$(dir $(RUN))))/lint-imports
	@git ls-files '*.py' | xargs wc -l | awk '$$2 != "total" && $$1 > 300 \
	    { print "remark: " $$2 " has " $$1 " lines. Does it hold one idea?" }'

notebooks: setup ## Execute the lessons and normalise them for a commit
	$(RUN) scripts/notebooks.py

exercises: setup ## Make exercises/ from solutions/
	$(RUN) scripts/exercises.py

release: setup ## Make the zip for students: no solutions, no answers
	$(RUN) scripts/release.py

bench: setup ## Measure beside peft and bitsandbytes (under 15 minutes; leave the machine alone)
	$(RUN) -m benchmarks

bench-gpu: setup ## The same on an NVIDIA GPU
	$(RUN) -m benchmarks --device cuda

clean: ## Remove .venv and everything else that can be made again
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# An environment that is unfinished, moved, or whose Python is gone is made from the beginning.
BROKEN := $(shell [ "$$(cat $(READY) 2>/dev/null)" = "$(CURDIR)" ] && $(RUN) -c pass 2>/dev/null || echo FORCE)

$(READY): pyproject.toml $(CONSTRAINTS) $(BROKEN)
	@rm -f $@
	@for python in $(PYTHONS); do \
	    command -v "$$python" >/dev/null || continue; \
	    version=$$("$$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue; \
	    if ! "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then \
	        tried="$$tried\n  $$python is Python $$version"; \
	    elif ! "$$python" -c 'import venv, ensurepip' 2>/dev/null; then \
	        tried="$$tried\n  $$python has no venv module (on Debian and Ubuntu: sudo apt-get install python3-venv)"; \
	    else found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	    printf 'minipeft needs Python 3.11 or newer, with its venv module. Looked for: %s%b\n' "$(PYTHONS)" "$$tried" >&2; \
	    echo 'Install one from https://www.python.org/downloads/, or name yours: make PYTHON=/path/to/python3' >&2; \
	    exit 1; \
	fi; \
	echo "Making $(VENV) with $$found (Python $$version)"; \
	"$$found" -m venv $(if $(BROKEN),--clear) $(VENV)
	$(RUN) -m pip install --disable-pip-version-check $(CONSTRAINTS:%=-c %) -e '.[lab,test]'
	@echo "$(CURDIR)" > $@
