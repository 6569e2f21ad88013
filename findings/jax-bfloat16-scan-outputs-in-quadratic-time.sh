#!/usr/bin/env bash
# A lax.scan that returns a bfloat16 array takes a time that grows with the square of its length, on a CPU
# with JAX 0.10.2: to write the row of one step, XLA's program converts the whole array of all steps to
# float32 and back again. Four times as many steps take about twelve times as long, and a scan of 2,000
# steps is hundreds of times slower than one that returns float32, or float16, of the same values. With
# JAX 0.11 a step writes its own row alone. Until then: return float32, and narrow the array afterwards.
#
# Output seen (the times themselves, which differ from machine to machine, go to stderr):
#   jax 0.10.2  whole arrays converted in a step: bfloat16 1, float16 0; beside float32: slow
#   jax 0.11.2  whole arrays converted in a step: bfloat16 0, float16 0; beside float32: level
# Needs Python 3.12 or newer, as JAX 0.11 does. Exits 1 if this changes.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PIP_QUIET=1 PIP_DISABLE_PIP_VERSION_CHECK=1 JAX_PLATFORMS=cpu

cat >"$work/program.py" <<'PYTHON'
import re
import statistics
import sys
import time

import jax
import jax.numpy as jnp

T = 2000


def steps(dtype):
    """A scan that returns T rows of a dtype, compiled."""

    def body(h, x):
        h = jnp.tanh(h + x)
        return h, h.astype(dtype)

    xs = jnp.full((T, 8, 256), 0.01)
    return xs, jax.jit(lambda xs: jax.lax.scan(body, jnp.zeros((8, 256)), xs)).lower(xs).compile()


def converted(dtype, name):
    """How often the compiled program narrows an array of all steps that it wrote one row of."""
    text = steps(dtype)[1].as_text()
    return len(re.findall(rf"= {name}\[{T},8,256\]\S* convert\(%dynamic", text))


def milliseconds(dtype):
    xs, program = steps(dtype)
    times = []
    for _ in range(5):
        begun = time.perf_counter()
        jax.block_until_ready(program(xs))
        times.append(1e3 * (time.perf_counter() - begun))
    return statistics.median(times[1:])


narrow, wide = milliseconds(jnp.bfloat16), milliseconds(jnp.float32)
print(f"{T} steps: bfloat16 {narrow:.1f} ms, float32 {wide:.1f} ms", file=sys.stderr)
print(
    f"jax {jax.__version__}  whole arrays converted in a step: bfloat16 "
    f"{converted(jnp.bfloat16, 'bf16')}, float16 {converted(jnp.float16, 'f16')}; "
    f"beside float32: {'slow' if narrow > 10 * wide else 'level'}"
)
PYTHON

for version in 0.10.2 0.11.2; do
    python3 -m venv "$work/$version"
    "$work/$version/bin/pip" install "jax==$version" "jaxlib==$version"
    "$work/$version/bin/python" "$work/program.py"
done | tee "$work/lines"
expected='jax 0.10.2  whole arrays converted in a step: bfloat16 1, float16 0; beside float32: slow
jax 0.11.2  whole arrays converted in a step: bfloat16 0, float16 0; beside float32: level'
[ "$(cat "$work/lines")" = "$expected" ] || { echo "expected: $expected" >&2; exit 1; }
