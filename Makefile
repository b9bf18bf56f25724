# make book · make pictures · make pdf · make test · make explore · make sweep · make bench · make clean · make distclean
# Each sets itself up in .venv first.

PROFILE ?= paper
PIP_ARGS ?=
PYTHON ?=

VENV := .venv
RUN := $(VENV)/bin/python

.PHONY: book pictures pdf test explore sweep bench clean distclean
.DELETE_ON_ERROR:

book: $(VENV)/book.installed
	@$(RUN) -m faithnb.book --profile $(PROFILE)

# The book, and its pictures that are kept in book/static for the README.
pictures: $(VENV)/book.installed
	@$(RUN) -m faithnb.book --profile $(PROFILE) --pictures

pdf: $(VENV)/book.installed
	@$(RUN) -m faithnb.book.pdf --profile $(PROFILE)

test: $(VENV)/test.installed
	@OMP_NUM_THREADS=1 $(RUN) -m pytest -n 2 --dist loadfile --no-loadscope-reorder

explore: $(VENV)/book.installed
	@$(VENV)/bin/jupyter lab notebooks

sweep: $(VENV)/book.installed
	@$(RUN) -m faithnb.book.many "$(NB)" "$(PARAMS)" --jobs $(or $(JOBS),1) $(if $(OUT),--out "$(OUT)") $(if $(filter-out 0 no,$(MANY)),--many)

bench: $(VENV)/book.installed
	@PYTHONPATH=tests $(RUN) -m benchmarks --size $(if $(FULL),full,normal) --out _build/bench.json

clean:
	rm -rf _build

distclean: clean
	rm -rf _cache $(VENV)

$(VENV)/book.installed: requirements.txt pyproject.toml
	@set -e; \
	say() { printf '%s\n' "$$*" >&2; exit 1; }; \
	found=; seen=; \
	for p in $(if $(PYTHON),"$(PYTHON)",python3.11 python3.12 python3.13 python3 python); do \
	  version=$$("$$p" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue; \
	  seen="$$seen $$p is $$version;"; \
	  case $$version in 3.11|3.12|3.13) found=$$p; break;; esac; \
	done; \
	[ -n "$$found" ] || say "faithnb needs Python 3.11, 3.12 or 3.13 (found:$${seen:- none}). Install one, or name it: make book PYTHON=/path/to/python3.12"; \
	"$$found" -c 'import venv, ensurepip' 2>/dev/null || say "$$found cannot make virtual environments: its venv module is missing. On Debian and Ubuntu: apt install python$$version-venv"; \
	free=$$(df -Pk . | awk 'NR == 2 { print int($$4 / 1048576) }'); \
	[ "$$free" -ge 3 ] || say "The environment needs about 3 GB of disk here (8 GB with torch for NVIDIA cards); $$free GB are free. Make room, or clone to another disk."; \
	[ -x $(RUN) ] || { printf 'Making %s with %s (Python %s)\n' $(VENV) "$$found" "$$version"; "$$found" -m venv $(VENV); }; \
	printf 'Installing the requirements; the first time this takes some minutes.\n'; \
	log=$(VENV)/pip.log; \
	if ! $(RUN) -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -r requirements.txt -e . 2>$$log; then \
	  tail -n 20 $$log >&2; \
	  if grep -q -i 'no space left' $$log; then say "The disk is full. Make room (about 3 GB, 8 GB with torch for NVIDIA cards) and call make again."; fi; \
	  say "pip could not install the requirements (its last words are above). Is the network reachable? Arguments for a proxy, a mirror or another index go into PIP_ARGS=…"; \
	fi; \
	$(RUN) -m faithnb.book.assets; \
	touch $@

$(VENV)/test.installed: $(VENV)/book.installed
	@log=$(VENV)/pip.log; \
	if ! $(RUN) -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -e '.[test]' 2>$$log; then \
	  tail -n 20 $$log >&2; \
	  printf 'pip could not install the test requirements (its last words are above). Is the network reachable?\n' >&2; exit 1; \
	fi; \
	touch $@
