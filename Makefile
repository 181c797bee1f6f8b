# make sample: install, and render the built-in photographs. make test: install, and run every check.
# make check: install, and run lint, types and the fast tests, in under a minute. make test-all: make test on every file of
# the real data, where make test takes some of each kind.
# make pythons: check the pixels on every supported Python; uv downloads those that are missing.
# make commands: run the commands of README.md and docs/*.md on the real data in DATA.
# make bench: install, and measure speed, on the images in SOURCE (class folders) and COCO (a folder) if given.
PYTHON ?= python3
BIN := .venv/bin
QUIETLY := install --quiet --disable-pip-version-check
# uv installs in a quarter of pip's time, from pip's configured index. If uv fails, pip is used.
BY_UV := $(BIN)/python generators/pixels/foreign/pip.py pip install --quiet --python $(BIN)/python

.PHONY: sample check test test-all pythons commands bench clean

sample: .venv/installed
	$(BIN)/python generate.py --variant reference,ffmpeg,pil_lanczos,nv12_ascend

check: TESTS = --fast --numprocesses 2
test: TESTS = --numprocesses 4
test-all: TESTS = --numprocesses 4
test-all: export SYSNOISE_ALL = 1
check test test-all: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@echo "mypy and pytest: what mypy finds is shown at the end"
	@log=$$(mktemp); $(BIN)/mypy > $$log 2>&1 & types=$$!; \
		$(BIN)/pytest $(TESTS) --dist loadfile --no-loadscope-reorder; tests=$$?; \
		wait $$types; types=$$?; cat $$log; rm $$log; exit $$((types + tests))

pythons: .venv/installed
	@for minor in 10 11 12 13; do \
		$(BIN)/uv run --quiet --isolated --no-project --python 3.$$minor --with-requirements requirements.txt \
			python -m tests.pixels || exit 1; \
	done

commands: .venv/installed-dev
	$(BIN)/python -m tests.commands $(DATA)

bench: .venv/installed-dev .venv-img2dataset/installed
	$(BIN)/python -m benchmarks $(if $(SOURCE),--source $(SOURCE)) $(if $(COCO),--coco $(COCO))

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' || \
		{ echo "Python 3.10 to 3.13 is needed: name one, as in PYTHON=python3.13"; exit 1; }
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python requirements.txt
	$(BIN)/pip $(QUIETLY) "$$(grep '^uv==' requirements.txt)"
	$(BY_UV) -r requirements.txt || $(BIN)/pip $(QUIETLY) -r requirements.txt
	@touch $@

.venv/installed-dev: .venv/installed requirements-dev.txt
	$(BY_UV) -r requirements-dev.txt || $(BIN)/pip $(QUIETLY) -r requirements-dev.txt
	@touch $@

# img2dataset needs other versions of some libraries than this project.
.venv-img2dataset/installed: requirements-img2dataset.txt
	$(PYTHON) -m venv .venv-img2dataset
	.venv-img2dataset/bin/pip $(QUIETLY) -r requirements-img2dataset.txt
	@touch $@

clean:
	rm -rf .venv .venv-img2dataset out
