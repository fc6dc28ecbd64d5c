# make run   set everything up, then translate a real recording into Portuguese speech and subtitles in out/
# make test  set everything up, then run the tests
# make check lint, types and tests: what CI runs
# make fuzz  send the decoders and servers what strangers could send (FUZZ_PICTURES, FUZZ_MEDIA, ... say how much of it)
PYTHON ?= python3
BIN := .venv/bin
TALK := tests/data/sense_and_sensibility.flac
# what the tests use
TEST_WEIGHTS := silero-vad whisper-base kokoro piper-en-joe efficientnet-lite0 efficientnet-lite2 smollm2-135m

.PHONY: run test check fuzz clean
.DELETE_ON_ERROR:

run: .venv/run.stamp
	$(BIN)/mmpipe pull
	@mkdir -p out
	$(BIN)/mmpipe translate $(TALK) --to pt --speak out/talk.pt.wav --srt out/talk.srt --bilingual
	@echo "The speech is in out/talk.pt.wav, the subtitles are in out/talk.srt:"
	@cat out/talk.srt

test: .venv/dev.stamp
	$(BIN)/mmpipe pull $(TEST_WEIGHTS)
	$(BIN)/python -m pytest

check: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(MAKE) --no-print-directory test

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
	rm -rf .venv out build dist .mypy_cache .pytest_cache .ruff_cache
