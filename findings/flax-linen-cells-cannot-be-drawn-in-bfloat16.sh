#!/usr/bin/env bash
# The recurrent cells of flax.linen take param_dtype=jnp.bfloat16, as its Dense does, but on a CPU none
# of them can be initialised with it: their recurrent matrices are drawn by
# jax.nn.initializers.orthogonal(), which decomposes a matrix of that very dtype, and the QR of JAX has
# no kernel for 16 bits. The error names neither the initialiser nor the argument. With
# recurrent_kernel_init=jax.nn.initializers.lecun_normal() it works; or draw in float32 and cast the
# tree of parameters.
#
# Output seen:
#   flax 0.12.8 jax 0.10.2  Dense: drawn; SimpleCell, GRUCell, LSTMCell: NotImplementedError; GRUCell with lecun_normal: drawn
# Exits 1 if this changes.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PIP_QUIET=1 PIP_DISABLE_PIP_VERSION_CHECK=1 JAX_PLATFORMS=cpu
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install "flax==0.12.8" "jax==0.10.2" "jaxlib==0.10.2"

cat >"$work/program.py" <<'PYTHON'
import flax
import jax
import jax.numpy as jnp
from flax import linen as nn

XS, HALF = jnp.ones((2, 3), jnp.bfloat16), {"param_dtype": jnp.bfloat16}
KEY = jax.random.key(0)


def outcome(module, *arguments):
    """What becomes of drawing a module's parameters."""
    try:
        params = module.init(KEY, *arguments)
    except NotImplementedError as error:
        return type(error).__name__
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("bfloat16")}
    return "drawn"


def cell(kind, **options):
    made = kind(4, **HALF, **options)
    return outcome(made, made.initialize_carry(KEY, XS.shape), XS)


kinds = (nn.SimpleCell, nn.GRUCell, nn.LSTMCell)
(same,) = {cell(kind) for kind in kinds}
other = cell(nn.GRUCell, recurrent_kernel_init=jax.nn.initializers.lecun_normal())
print(
    f"flax {flax.__version__} jax {jax.__version__}  Dense: {outcome(nn.Dense(4, **HALF), XS)}; "
    f"{', '.join(kind.__name__ for kind in kinds)}: {same}; GRUCell with lecun_normal: {other}"
)
PYTHON

line=$("$work/venv/bin/python" "$work/program.py")
echo "$line"
expected='flax 0.12.8 jax 0.10.2  Dense: drawn; SimpleCell, GRUCell, LSTMCell: NotImplementedError; GRUCell with lecun_normal: drawn'
[ "$line" = "$expected" ] || { echo "expected: $expected" >&2; exit 1; }
