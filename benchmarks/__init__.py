"""Benchmarks of rnn_jax: ``python -m benchmarks``."""

import os

# Before JAX is imported: it takes most of a GPU's memory at once, and PyTorch needs some beside it.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
