# Everything runs in an environment of its own; `make` sets it up on the first call.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
NETWORKS := fused_norm small_maps unet networks nnunet engines export_models model

.PHONY: demo check setup lint types imports test clean

demo: setup  ## the main job from beginning to end, on made-up fractures, on a CPU in minutes
	$(BIN)/osteon demo demo

check: lint types imports test  ## all that CI checks

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml hatch_build.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

imports: setup
	$(BIN)/lint-imports --no-cache

test: setup  ## in two processes at most, a module's tests in one of them; networks once more with torch's kernels of AVX2
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --maxprocesses 2 --dist loadfile
ifneq ($(shell grep -m1 -o avx2 /proc/cpuinfo 2>/dev/null),)
	OMP_NUM_THREADS=1 ATEN_CPU_CAPABILITY=avx2 \
		$(BIN)/pytest -n auto --maxprocesses 2 --dist loadfile $(NETWORKS:%=tests/test_%.py)
endif

clean:  ## remove the environment and what the demo made
	rm -rf $(VENV) demo
