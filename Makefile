# The course in a few commands. `make` alone lists them. Without make (Windows): pip install -r requirements.txt, then
# python -m medssl run all --profile quick --out runs/course

PYTHON ?= python3
PY := .venv/bin/python
DONE := .venv/.installed
JOBS ?= 2
FILES := requirements.txt starter/requirements.txt starter/pyproject.toml
UV := $(shell command -v uv 2>/dev/null)
# With this set, Python would compile all of torch anew in every process.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help course test nightly versions bench lint clean
help:
	@echo "make course   install, run every week on the quick profile, grade it: the whole course in some minutes"
	@echo "make test     install, run the tests"
	@echo "make nightly  install, run the tests with many more damaged files and kills: some hours"
	@echo "make versions run the tests on the oldest releases, on Colab's and on the newest: 6 GB and half an hour each"
	@echo "make bench    install, measure against peers on this machine: 15 minutes on two quiet cores"
	@echo "make lint     install, check the style of code and notebooks"
	@echo "make clean    delete environments, runs/course and caches; results/ and reports/ stay"

# The stamp is written last: an installation that was cut short is taken up again, not taken as done.
$(DONE): $(FILES)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "This needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1)."; \
	  echo "Install a newer one, then say: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@rm -f $(DONE)
	@if test -e .venv && ! $(PY) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	  echo "The .venv here does not work any more: making a new one"; rm -rf .venv; fi
ifneq ($(UV),)
	@echo "Installing requirements.txt into .venv with uv (6 GB; about a minute the first time)"
	@test -x $(PY) || $(UV) venv --quiet --seed --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" .venv
	@$(UV) pip install --quiet --compile-bytecode --python $(PY) -r requirements.txt
else
	@echo "Installing requirements.txt into .venv with pip (6 GB; two to three minutes the first time)"
	@test -x .venv/bin/pip || $(PYTHON) -m venv .venv
	@$(PY) -m pip install --quiet --disable-pip-version-check -r requirements.txt
endif
	@touch $(DONE)

course: $(DONE)
	@echo "Running every week's notebook on the quick profile (phantom images, no network) into runs/course"
	@rm -rf runs/course
	@status=0; $(PY) -m medssl run all --profile quick --out runs/course --timeout 900 --keep-going --jobs 2 || status=$$?; \
	  test $$status -lt 128 || exit $$status; \
	  echo "Grading what they handed in"; \
	  $(PY) -m medssl grade runs/course/results --html runs/course/grade.html --csv runs/course/grade.csv \
	    --json runs/course/grade.json --strict || status=$$?; \
	  echo "The report: $(CURDIR)/runs/course/grade.html"; exit $$status

test: $(DONE)
	@echo "Running the tests, files shared among $(JOBS) processes"
	@$(PY) -m pytest -rs -n $(JOBS) --dist loadfile tests

nightly: $(DONE)
	@echo "Running the tests with 10,000 damaged files a reader and 50 kills a command: some hours"
	@MEDSSL_FUZZ_CASES=10000 MEDSSL_KILLS=50 $(PY) -m pytest -rs -n $(JOBS) --dist loadfile tests

versions:
	@status=0; for name in oldest colab newest; do tests/versions/run.sh $$name || status=1; done; exit $$status

# The peers go into an environment of their own, runs/bench/.venv. Some of them only: make bench BENCH="views losses".
bench: $(DONE)
	@echo "Measuring against peers on this machine: reports/benchmarks.md"
	@$(PY) tests/bench/all.py $(BENCH)

lint: $(DONE)
	@echo "Checking the style of code and notebooks"
	@$(PY) -m ruff check .

clean:
	@echo "Deleting .venv, runs/course, the environments of benches and versions, and caches"
	@rm -rf .venv runs/course runs/bench/.venv runs/versions .pytest_cache .ruff_cache
	@find starter tests -name __pycache__ -type d -prune -exec rm -rf {} +
