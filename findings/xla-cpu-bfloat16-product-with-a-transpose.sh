#!/usr/bin/env bash
# Whether XLA multiplies bfloat16 matrices as bfloat16 on a CPU depends on how the product is written.
# Of x [N, K] and w [M, K], einsum("nk,mk->nm", x, w) keeps both factors bfloat16, and on a processor
# with AVX512_BF16 is about twice as fast as in float32. x @ w.T is the same product, and the
# compiled dot has the same contracting dimensions, but both factors are first widened to float32: the
# transpose is folded into the product only after it was decided what the product can be run by.
#
# Output seen (on a processor with avx512_bf16; the times go to stderr):
#   jax 0.10.2  einsum nk,mk->nm: bf16; x @ w.T: f32; contracting dimensions alike: True
# Exits 1 if this changes, and 0 without a check where the processor has no bfloat16 products.
set -euo pipefail

if ! grep -q avx512_bf16 /proc/cpuinfo; then
    echo "no avx512_bf16 here: nothing to see"
    exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PIP_QUIET=1 PIP_DISABLE_PIP_VERSION_CHECK=1 JAX_PLATFORMS=cpu
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install "jax==0.10.2" "jaxlib==0.10.2"

cat >"$work/program.py" <<'PYTHON'
import re
import statistics
import sys
import time

import jax
import jax.numpy as jnp

X, W = (jnp.ones(shape, jnp.bfloat16) for shape in ((1120, 1024), (512, 1024)))
WIDE = {"preferred_element_type": jnp.float32}
FORMS = {
    "einsum nk,mk->nm": lambda x, w: jnp.einsum("nk,mk->nm", x, w, **WIDE),
    "x @ w.T": lambda x, w: jnp.matmul(x, w.T, **WIDE),
}


def compiled(form):
    """The dtype of the factors of the one product of a program, and its contracting dimensions."""
    program = jax.jit(form).lower(X, W).compile()
    text = program.as_text()
    ((left, right, dimensions),) = re.findall(r" dot\((%\S+), (%\S+)\), (\S+, \S+),", text)
    dtypes = {dict(re.findall(r"(%[\w.]+) = (\w+)\[", text))[name] for name in (left, right)}
    times = []
    for _ in range(20):
        begun = time.perf_counter()
        jax.block_until_ready(program(X, W))
        times.append(1e3 * (time.perf_counter() - begun))
    return dtypes.pop(), dimensions, statistics.median(times)


found = {name: compiled(form) for name, form in FORMS.items()}
print({name: f"{ms:.2f} ms" for name, (_, _, ms) in found.items()}, file=sys.stderr)
alike = len({dimensions for _, dimensions, _ in found.values()}) == 1
said = "; ".join(f"{name}: {dtype}" for name, (dtype, _, _) in found.items())
print(f"jax {jax.__version__}  {said}; contracting dimensions alike: {alike}")
PYTHON

line=$("$work/venv/bin/python" "$work/program.py")
echo "$line"
expected='jax 0.10.2  einsum nk,mk->nm: bf16; x @ w.T: f32; contracting dimensions alike: True'
[ "$line" = "$expected" ] || { echo "expected: $expected" >&2; exit 1; }
