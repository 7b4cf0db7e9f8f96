# What one types in this repository. Everything runs in .venv, which `make install` makes and renews when
# pyproject.toml or constraints.txt change; it needs Python 3.11 or newer and the network, nothing else.
#
#   make demo                                  data, search, promoted model, prediction, in the folder demo/
#   make demo DATA=../shared/data/isic2017     the same on real images
#   make test                                  every test
#   make fast                                  those of under a second, in less than two minutes
#   make branches                              every branch of every space file, a quarter of an hour
#   make check                                 exactly what CI runs: lint, types, every test

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
WORKSPACE := demo
# Three files at a time, those with long tests first (tests/conftest.py), which mostly wait for others.
# One thread each: where there are as many processes as cores, threads that wait for one another only burn time.
PYTEST := --numprocesses 3 --dist loadfile --no-loadscope-reorder
test fast branches: export OMP_NUM_THREADS = 1

ifdef DATA
NAME := $(notdir $(abspath $(DATA)))
SOURCE := $(abspath $(DATA))
# Real sets are ten times as large, and minutes have to be enough for them as well.
TRIALS := 8
else
NAME := demo
SOURCE := $(WORKSPACE)/drawn
# The file that is written last.
DRAWN := $(SOURCE)/ISIC-2017_Test_v2_Part3_GroundTruth.csv
TRIALS := 10
endif

LESION := LESION_WORKSPACE=$(WORKSPACE) $(BIN)/lesion-search
PHOTO := $(WORKSPACE)/$(NAME).jpg
FIRST_PHOTO := from pathlib import Path; import sys; from lesion.data import archives, layouts; \
	last = layouts.read_listing(Path(sys.argv[1])).members[-1]; Path(sys.argv[2]).write_bytes(archives.read(last))

.PHONY: install demo test fast branches lint check clean
.DELETE_ON_ERROR:

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and \
		f"Python 3.11 or newer is needed, {sys.executable} is {v[0]}.{v[1]}: make PYTHON=python3.12 …")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	@touch $@

demo: install
ifndef DATA
	test -f $(DRAWN) || { rm -rf $(SOURCE); $(LESION) data synthesise $(SOURCE); }
endif
	$(LESION) data check $(SOURCE)
	$(LESION) data prepare $(SOURCE) --name $(NAME) --size 64
	$(LESION) check spaces/demo.yaml --data $(NAME)
	$(LESION) run spaces/demo.yaml --data $(NAME) --name $(NAME) --trials $(TRIALS) --concurrent 2
	$(LESION) status $(NAME)
	$(LESION) promote $(NAME)
	@$(BIN)/python -c '$(FIRST_PHOTO)' $(SOURCE) $(PHOTO)
	$(LESION) predict models:/$(NAME)@champion $(PHOTO)
	@echo
	@echo "Look at every trial in MLflow:  $(BIN)/lesion-search ui --workspace $(WORKSPACE)"
	@echo "Begin again:                    make clean demo"

test: install
	$(BIN)/python -m pytest $(PYTEST)

fast: install
	$(BIN)/python -m pytest $(PYTEST) -m "not slow"

# Every branch of every space file through a real training step; CI trains every pair of options.
branches: export LESION_BRANCHES = 100000
branches: install
	$(BIN)/python -m pytest --numprocesses 2 tests/contracts/test_spaces.py

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: lint test

clean:
	rm -rf $(WORKSPACE)
