# make sample: install, and render the built-in photographs. make test: install, and run every check.
# make pythons: the pixels of every Python that is supported, which uv fetches where it is not found.
# make commands: run the commands of README.md and docs/*.md on the real data in DATA.
# make bench: install, and measure speed, on the images in SOURCE (class folders) and COCO (a folder) if they are given.
PYTHON ?= python3
BIN := .venv/bin
QUIETLY := install --quiet --disable-pip-version-check
# uv installs in a quarter of pip's time, from where pip is told to look. pip does where uv cannot.
BY_UV := $(BIN)/python generators/pixels/foreign/pip.py pip install --quiet --python $(BIN)/python

.PHONY: sample test pythons commands bench clean

sample: .venv/installed
	$(BIN)/python generate.py --variant pil_lanczos

test: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@echo "mypy and pytest: what mypy finds is shown at the end"
	@log=$$(mktemp); $(BIN)/mypy > $$log 2>&1 & types=$$!; \
		$(BIN)/pytest --numprocesses 4 --dist loadfile --no-loadscope-reorder; tests=$$?; \
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
		{ echo "Python 3.10 to 3.13 is needed; name one by PYTHON=python3.13"; exit 1; }
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python requirements.txt
	$(BIN)/pip $(QUIETLY) "$$(grep '^uv==' requirements.txt)"
	$(BY_UV) -r requirements.txt || $(BIN)/pip $(QUIETLY) -r requirements.txt
	@touch $@

.venv/installed-dev: .venv/installed requirements-dev.txt
	$(BY_UV) -r requirements-dev.txt || $(BIN)/pip $(QUIETLY) -r requirements-dev.txt
	@touch $@

# It needs other versions of some libraries than ours.
.venv-img2dataset/installed: requirements-img2dataset.txt
	$(PYTHON) -m venv .venv-img2dataset
	.venv-img2dataset/bin/pip $(QUIETLY) -r requirements-img2dataset.txt
	@touch $@

clean:
	rm -rf .venv .venv-img2dataset out
