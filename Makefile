# make book · make pictures · make pdf · make test · make interop · make explore · make sweep · make bench · make bench-gpu · make score · make costs · make verify · make publish-record · make clean · make distclean
# Each sets itself up in .venv first.

PROFILE ?= paper
PIP_ARGS ?=
PYTHON ?=

export PIP_ARGS

VENV := .venv
INTEROP := .venv-interop
RUN := $(VENV)/bin/python

.PHONY: book pictures pdf test interop explore sweep bench bench-gpu score costs verify publish-record clean distclean
.DELETE_ON_ERROR:

book: $(VENV)/book.installed
	@$(RUN) -m faithnb.book --profile $(PROFILE)

# The book, and its pictures that are kept in book/static for the README.
pictures: $(VENV)/book.installed
	@$(RUN) -m faithnb.book --profile $(PROFILE) --pictures

# What the last build took, if it began with an empty store: later builds foretell their length from it.
costs: $(VENV)/book.installed
	@$(RUN) -m faithnb.book.costs

# The last build against what is published, claim by claim; the exit status says whether all agrees.
verify: $(VENV)/book.installed
	@$(RUN) -m faithnb.book.published compare

# The record of what is published, from a finished build with PROFILE=paper.
publish-record: $(VENV)/book.installed
	@$(RUN) -m faithnb.book.published keep

pdf: $(VENV)/book.installed
	@$(RUN) -m faithnb.book.pdf --profile $(PROFILE)

test: $(VENV)/test.installed
	@OMP_NUM_THREADS=1 $(RUN) -m pytest -n 2 --dist loadfile --no-loadscope-reorder

interop: $(INTEROP)/installed
	@OMP_NUM_THREADS=1 $(INTEROP)/bin/python -m pytest tests/interop

explore: $(VENV)/book.installed
	@$(VENV)/bin/jupyter lab notebooks

sweep: $(VENV)/book.installed
	@$(RUN) -m faithnb.book.many "$(NB)" "$(PARAMS)" --jobs $(or $(JOBS),1) $(if $(OUT),--out "$(OUT)") $(if $(filter-out 0 no,$(MANY)),--many)

bench: $(VENV)/book.installed
	@PYTHONPATH=tests $(RUN) -m benchmarks --size $(if $(FULL),full,normal) --out _build/bench.json

# At most ten minutes on a machine with a GPU; OUT names another file for the record.
bench-gpu: $(VENV)/book.installed
	@PYTHONPATH=tests $(RUN) -m benchmarks.gpu --out $(or $(OUT),book/static/bench-gpu.json)

# Two entries of results/ in part (faithnb/benchmark/again.py says which), or those that ENTRIES names.
score: $(VENV)/book.installed
	@$(RUN) -m faithnb.benchmark check $(ENTRIES) $(if $(TASK),--task $(TASK))

clean:
	rm -rf _build

distclean: clean
	rm -rf _cache $(VENV) $(INTEROP)

$(VENV)/book.installed: requirements.txt pyproject.toml
	@.ci/environment book $(VENV) "$(PYTHON)" $(PIP_ARGS)
	@touch $@

$(VENV)/test.installed: $(VENV)/book.installed
	@.ci/environment test $(VENV) "$(PYTHON)" $(PIP_ARGS)
	@touch $@

$(INTEROP)/installed: tests/interop/requirements.txt tests/interop/requirements-alone.txt $(VENV)/test.installed
	@printf 'Installing the libraries beside %s; the first time this takes a minute or two.\n' $(VENV)
	@$(RUN) tests/interop/environment.py $(INTEROP) $(PIP_ARGS)
	@touch $@
