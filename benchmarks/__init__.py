"""Benchmarks of rnn_jax: ``python -m benchmarks``."""

import os

# Before NumPy is imported. After a product OpenBLAS's threads wait for the next one at full speed,
# by default for 2^28 ticks of the clock, 0.1 s: meanwhile whatever else takes a turn in this
# process shares its cores with them. 2^20 ticks, 0.4 ms, bridge the gap to a loop's next product.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "20")
# Before JAX is imported: it takes most of a GPU's memory at once, and PyTorch needs some beside it.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
