"""Settings for all tests, made before torch is imported."""

import os

# The networks here are tiny: one thread is faster than two that wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
