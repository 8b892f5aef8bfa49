# make demo   decide the Chinese reviews example end to end, then build its bundle
# make test   everything that continuous integration runs
# make lint   the checks that need no test run
# make bench-NAME   one benchmark: benchmarks/NAME.py, last line one JSON object (make bench lists them)
# make assets fetch the data and weights that the demo and the tests use
# make clean  remove what was built; the environment and the asset cache stay

VENV := .venv
PY := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
EXTRAS := all,dev
PIP_FLAGS ?=

DEMO_ASSETS := chinese-reviews multilingual-e5-small wordllama-256 qwen2.5-coder-0.5b-instruct
DEMO_DATA := examples/chinese-reviews/reviews.csv
EXAMPLE_DATA := $(DEMO_DATA) examples/few-labels/reviews-300.csv examples/credit-default/credit.csv
TEST_ASSETS := $(DEMO_ASSETS) all-minilm-l6-v2 smollm2-135m-instruct uci-credit-default german-credit bbc-news

.DEFAULT_GOAL := help
.PHONY: help demo test lint assets bench clean install system FORCE
.DELETE_ON_ERROR:

help:
	@sed -n 's/^# make/  make/p' Makefile

# ------------------------------------------------------------------------------------------------------------ set-up

$(PY):
	@command -v $${PYTHON:-python3} >/dev/null || { echo 'python3 (3.11 or newer) is needed'; exit 2; }
	@$${PYTHON:-python3} -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "Python 3.11 or newer is needed, $$($${PYTHON:-python3} --version) found; PYTHON=python3.12 make ... picks another"; exit 2; }
	$${PYTHON:-python3} -m venv $(VENV)

# Installing takes minutes, so it happens only when what is to be installed has changed.
$(INSTALLED): pyproject.toml constraints.txt | $(PY)
	$(PY) -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@

install: $(INSTALLED)

system:
	@scripts/setup-system.sh

assets: $(INSTALLED) $(EXAMPLE_DATA)
	@$(VENV)/bin/bakeoff fetch $(TEST_ASSETS) >/dev/null

# Each example writes its own data from an asset; third-party data is never part of the repository.
$(EXAMPLE_DATA): | $(INSTALLED)
	@$(PY) $(@D)/fetch.py

# -------------------------------------------------------------------------------------------------------------- goals

demo: $(INSTALLED) $(DEMO_DATA)
	@$(VENV)/bin/bakeoff fetch $(DEMO_ASSETS) >/dev/null
	@mkdir -p build/demo
	$(VENV)/bin/bakeoff run examples/chinese-reviews/bakeoff.yaml --out build/demo/study
	$(VENV)/bin/bakeoff ship build/demo/study -o build/demo/bundle

# What was promised must be there: tests that would skip themselves for want of it fail.
test: system assets
	@BAKEOFF_TEST_REQUIRE="$$(scripts/setup-system.sh --promised)" scripts/check

lint: $(INSTALLED)
	@scripts/check --lint

bench:
	@for file in benchmarks/[!_]*.py; do [ -e "$$file" ] || continue; name=$${file##*/}; echo "make bench-$$(echo $${name%.py} | tr _ -)"; done

bench-%: $(INSTALLED) FORCE
	@$(PY) -m benchmarks.$(subst -,_,$*)

FORCE:

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} +
