# make demo   a training run is killed five times and ends as if nothing had happened
# make test   every test, in two processes; options in TEST_ARGS; make lint: format, style, types
# make bench  speed and memory, side by side with other libraries; options in BENCH_ARGS (benchmarks/README.md)
# make faults what is promised, tried with every fault for up to two hours; options in FAULTS_ARGS (docs/reliability.md);
#             make faults-peers: other libraries, tried by the same means
# make clean  remove what these made
#
# Each works on a fresh clone with Python 3.10 or newer and make; PYTHON=... chooses the interpreter.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

# Files are shared out among processes, none is split: tests of one file may share what is dear to make. Threads of
# torch's that wait for a processor which another process has would take three times as long.
TEST_ARGS ?= -n 2 --dist loadfile

BENCH := .venv-bench
CHAINER := .venv-chainer
BUILD := pyproject.toml hatch_build.py src/holdfast/state/memcopy.c

.PHONY: demo test lint bench faults faults-peers clean

demo: $(VENV)/core
	@$(BIN)/python examples/digits/demo.py

test: $(VENV)/suite $(CHAINER)/chainer
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(TEST_ARGS)

lint: $(VENV)/linters
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(BENCH)/peers
	@$(BENCH)/bin/python benchmarks/run.py $(BENCH_ARGS)

faults: $(VENV)/fuzz
	@PYTHONPATH=$(CURDIR)/tests $(BIN)/python -m faults.run $(FAULTS_ARGS)

faults-peers: $(VENV)/suite $(BENCH)/peers
	@PYTHONPATH=$(CURDIR)/tests $(BIN)/python -m faults.run --peers $(FAULTS_ARGS)

clean:
	rm -rf $(VENV) $(BENCH) $(CHAINER) build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache examples/digits/runs examples/digits_torch_runs
	find . -name __pycache__ -prune -exec rm -rf {} +

# Stamps: each stands for what is installed in the environment.
$(VENV)/python $(BENCH)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "holdfast needs Python 3.10 or newer, and '$(PYTHON)' is not: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || { \
	  echo "'$(PYTHON)' lacks the venv module: install it first (Debian, Ubuntu: apt-get install python3-venv)"; exit 1; }
	@echo "making $(@D) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv --clear $(@D)
	@touch $@

$(VENV)/core: $(VENV)/python $(BUILD) constraints.txt
	@echo "installing holdfast"
	@$(INSTALL) --editable .
	@touch $@

$(VENV)/linters: $(VENV)/core
	@echo "installing the linters"
	@$(INSTALL) --editable ".[lint]"
	@touch $@

$(VENV)/suite: $(VENV)/core
	@echo "installing what the suite needs (torch, jax and more)"
	@$(INSTALL) --editable ".[test,torch,jax,hdf5,plot,lint]"
	@touch $@

# atheris has no wheel for every Python: without it R8 draws all of its files itself.
$(VENV)/fuzz: $(VENV)/suite
	@$(INSTALL) --only-binary atheris --editable ".[fuzz]" || echo "atheris is not installed: there is none for this Python"
	@touch $@

# The peers depend on much that the suite must not see: an environment of their own, with their pins.
$(BENCH)/peers: $(BENCH)/python $(BUILD) constraints.txt benchmarks/constraints.txt
	@echo "installing the libraries that holdfast is measured against (torch, jax and more)"
	@$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
	  --constraint benchmarks/constraints.txt --editable ".[bench]"
	@touch $@

# Chainer, which old programs are compared with, needs an old Python and an old numpy: an environment of its own. Where
# there is no such Python the tests that need it skip. An empty PIP_CONSTRAINT: what pip has been told elsewhere about
# newer versions is of no use here.
$(CHAINER)/chainer: constraints-chainer.txt $(BUILD)
	@for python in $(PYTHON) python3.11 python3.10; do \
	  if $$python -c 'import sys, ensurepip, venv; sys.exit(not (3, 10) <= sys.version_info < (3, 12))' 2>/dev/null; then \
	    echo "installing Chainer with $$($$python --version)" && \
	    export PIP_CONSTRAINT= PIP_DISABLE_PIP_VERSION_CHECK=1 && \
	    $$python -m venv --clear $(CHAINER) && \
	    $(CHAINER)/bin/python -m pip install --quiet --constraint constraints-chainer.txt setuptools wheel mock && \
	    $(CHAINER)/bin/python -m pip install --quiet --constraint constraints-chainer.txt --no-build-isolation \
	      chainer && \
	    $(CHAINER)/bin/python -m pip install --quiet --constraint constraints-chainer.txt --editable ".[hdf5,plot]" && \
	    touch $@; exit; \
	  fi; \
	done; \
	echo "Chainer is not installed: it needs Python 3.10 or 3.11, and none was found; its tests will skip"
