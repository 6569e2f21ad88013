"""The command keeps the memory that it frees."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FAULTS = """
import sys
{before}
import resource
import rnn_jax
import jax, jax.numpy as jnp

# A temporary of 64 MiB: the result of a product is not fused away.
call = jax.jit(lambda x: jnp.sin(x @ x.T).sum())
x = jnp.ones((4096, 16))
faults = []
for _ in range(10):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    call(x).block_until_ready()
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(min(faults[1:]))
"""


def faults(before: str) -> int:
    """The fewest page faults of a call, the first one left out: a heap takes some to settle."""
    environment = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"}
    output = subprocess.run(
        [sys.executable, "-c", FAULTS.format(before=before)],
        cwd=ROOT, env=environment, text=True, check=True, stdout=subprocess.PIPE,
    ).stdout  # fmt: skip
    return int(output)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc")
def test_a_call_finds_its_memory_again() -> None:
    usual, kept = faults(""), faults('sys.argv[0] = "rnn-jax"')
    pages = 2**26 / os.sysconf("SC_PAGESIZE")
    # Fewer are usual where the system has huge pages anyway.
    assert kept < pages / 20 and (usual > pages or usual < pages / 20)
