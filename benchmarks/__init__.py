"""Benchmarks of rnn_jax: ``python -m benchmarks``."""

import os

__all__ = ["VARIABLES"]

# What a run sets where nobody else has.
VARIABLES = {
    # Before NumPy is imported. After a product OpenBLAS's threads wait for the next one at full
    # speed, by default for 2^28 ticks of the clock, 0.1 s: meanwhile whatever else takes a turn in
    # this process shares its cores with them. 2^20 ticks, 0.4 ms, bridge the gap to a loop's next
    # product.
    "OPENBLAS_THREAD_TIMEOUT": "20",
    # Before JAX is imported: it takes most of a GPU's memory at once, and PyTorch needs some beside
    # it.
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
}
for _name, _value in VARIABLES.items():
    os.environ.setdefault(_name, _value)
