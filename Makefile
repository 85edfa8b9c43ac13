# Everything runs in an environment of its own; `make` sets it up on the first call.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
RELEASE_STEPS ?= check dist
export PYTHONDONTWRITEBYTECODE =  # empty is off: what is imported is compiled once, not by each of the tests' processes
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --maxprocesses 2 --dist loadfile --no-loadscope-reorder
NETWORKS := engines networks export_models fused_norm small_maps unet model
QUICK := augmenting between_slices cache case_ids case_selection clock comparing confidence connectivity dataset errors filling \
	fingerprint geometry labels listing losses memory mesh_files meta_image module nifti_headers overlap overlay pieces \
	pipeline planner postprocess random_streams raster resample restore rle schedule scores series small \
	small_maps sparse spread stl surfaces tiles unet values vote_fit vote_tables voting

DIST := $(VENV)/dist/$(notdir $(BIN))/python
EXTRAS ?= app,fast
WITH_EXTRAS = "$$(ls dist/osteon-*.whl)[$(EXTRAS)]"
SYSTEM_PYTHON ?= $(PYTHON)

.PHONY: demo check fast setup lint types imports test kernels mutants release docs tutorials dist wheels dist-check clean

demo: setup  ## the main job from beginning to end, on made-up fractures, on a CPU in minutes
	$(BIN)/osteon demo demo

check: lint imports  ## all that CI checks; types, and networks with other kernels, in what the tests leave idle
	@$(MAKE) --no-print-directory -j3 types test kernels

fast: lint types imports  ## while one works: the checks without running, and the tests in QUICK (see docs/testing.md)
	$(PYTEST) $(QUICK:%=tests/test_%.py)

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml hatch_build.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -e '.[dev]'
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
		--target $(VENV)/share/monailabel monailabel==0.8.5  # 20 MB; tests use its client module alone
	touch $@

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	nice -n 19 $(BIN)/mypy

imports: setup
	$(BIN)/lint-imports --no-cache

test: setup  ## in two processes at most, a module's tests in one of them
	$(PYTEST)

kernels: setup  ## networks once more with torch's kernels of AVX2, where others were taken
ifneq ($(shell grep -m1 -o avx512f /proc/cpuinfo 2>/dev/null),)
	@ATEN_CPU_CAPABILITY=avx2 OMP_NUM_THREADS=1 nice -n 19 $(BIN)/pytest -n 0 --durations=0 --durations-min=9 \
		$(NETWORKS:%=tests/test_%.py) >$(VENV)/kernels.log 2>&1 || { cat $(VENV)/kernels.log; exit 1; }
	@echo "networks once more with torch's kernels of AVX2: passed ($(VENV)/kernels.log)"
endif

mutants: setup  ## break the code in 60 places, and name those that no near test notices; some 20 minutes
	nice $(BIN)/python benchmarks/mutants.py

release: setup  ## check everything, build, hash and sign with KEY; nothing is tagged or uploaded (docs/versions.md)
	$(BIN)/python tools/release.py --key "$(KEY)" --steps $(RELEASE_STEPS)

docs: $(VENV)/docs/.ready  ## the documentation's site in build/site; every link followed, no address of another host in it
	$(VENV)/docs/bin/python tools/site.py

$(VENV)/docs/.ready:
	$(PYTHON) -m venv $(VENV)/docs
	$(VENV)/docs/bin/python -m pip install --quiet --disable-pip-version-check --no-compile 'zensical==0.0.73'
	touch $@

tutorials: setup  ## run every block of the tutorials and how-tos, each page in a folder of its own
	$(BIN)/python tools/run_docs.py docs/tutorials/*.md docs/howto/*.md

dist: $(VENV)/dist/.ready  ## wheel and sdist, built and checked; nothing is uploaded
	$(DIST) tools/build_dist.py dist

wheels: dist  ## all wheels that the one of `make dist` needs, with EXTRAS, into dist/wheels
	$(DIST) -m pip download --quiet --disable-pip-version-check --dest dist/wheels $(WITH_EXTRAS)

dist-check: wheels  ## the wheel installed and used without a network, as another user, with a read-only home
	$(DIST) tools/check_install.py dist/wheels --python $(SYSTEM_PYTHON) --extras '$(EXTRAS)'

$(VENV)/dist/.ready:  # what builds and checks, in an environment of its own: 77 MB
	$(PYTHON) -m venv $(VENV)/dist
	$(DIST) -m pip install --quiet --disable-pip-version-check 'build>=1.2' 'hatchling>=1.27' 'twine>=6.1'
	touch $@

clean:  ## remove the environment and what the demo made
	rm -rf $(VENV) demo
