"""What strangers could send, and what must not come of it. See ``tests/fuzz/run.py``."""
