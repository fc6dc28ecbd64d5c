# make run   set everything up, then translate a real recording into Portuguese speech and subtitles in out/
# make test  set everything up, then run the tests, but for those that drive Chromium
# make check lint, types and all tests: what CI runs
# make sbom  what is installed in SBOM_ENV, and the models, as CycloneDX in out/sbom.cdx.json
# make fuzz  send the decoders and servers what strangers could send (FUZZ_PICTURES, FUZZ_MEDIA, ... say how much of it)
PYTHON ?= python3
SBOM_ENV ?= .venv
BIN := .venv/bin
TALK := tests/data/sense_and_sensibility.flac
# what the tests use
TEST_WEIGHTS := silero-vad whisper-base kokoro piper-en-joe efficientnet-lite0 efficientnet-lite2 smollm2-135m

.PHONY: run test check fuzz sbom clean
.DELETE_ON_ERROR:

run: .venv/run.stamp
	$(BIN)/mmpipe pull
	@mkdir -p out
	$(BIN)/mmpipe translate $(TALK) --to pt --speak out/talk.pt.wav --srt out/talk.srt --bilingual
	@echo "The speech is in out/talk.pt.wav, the subtitles are in out/talk.srt:"
	@cat out/talk.srt

test: .venv/dev.stamp
	$(BIN)/mmpipe pull $(TEST_WEIGHTS)
	$(BIN)/python -m pytest -m 'not browser' --numprocesses 2 --dist loadfile --no-loadscope-reorder

check: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python tools/vocabulary.py
	$(BIN)/mypy
	$(BIN)/mmpipe pull $(TEST_WEIGHTS)
	$(BIN)/python -m pytest -m browser
	$(MAKE) --no-print-directory test

# in an environment of its own, or it would list itself
sbom: .venv-sbom/run.stamp | $(if $(filter .venv,$(SBOM_ENV)),.venv/run.stamp)
	@mkdir -p out
	.venv-sbom/bin/cyclonedx-py environment --pyproject pyproject.toml --output-format JSON -o out/sbom.cdx.json $(SBOM_ENV)/bin/python
	.venv-sbom/bin/python tools/sbom.py out/sbom.cdx.json

.venv-sbom/run.stamp:
	$(PYTHON) -m venv .venv-sbom
	.venv-sbom/bin/python -m pip install --quiet --disable-pip-version-check 'cyclonedx-bom>=7.1,<8'
	@touch $@

# A quarter of an hour each on two cores; the exit status says whether anything got through.
FUZZ_PICTURES ?= 100000
FUZZ_MEDIA ?= 20000
FUZZ_MESSAGES ?= 50000
FUZZ_REQUESTS ?= 20000
FUZZ_SEED ?= 1

fuzz: .venv/dev.stamp
	$(BIN)/python tests/fuzz/run.py pictures --count $(FUZZ_PICTURES) --seed $(FUZZ_SEED)
	$(BIN)/python tests/fuzz/run.py media --count $(FUZZ_MEDIA) --seed $(FUZZ_SEED)
	$(BIN)/python tests/fuzz/run.py protocol --count $(FUZZ_MESSAGES) --seed $(FUZZ_SEED)
	$(BIN)/python tests/fuzz/run.py http --count $(FUZZ_REQUESTS) --seed $(FUZZ_SEED)

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/run.stamp: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[espeak]'
	@touch $@

.venv/dev.stamp: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ .venv/run.stamp

clean:
	rm -rf .venv .venv-sbom out build dist .mypy_cache .pytest_cache .ruff_cache
