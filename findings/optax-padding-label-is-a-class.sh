#!/usr/bin/env bash
# In optax 0.2.8 a target of -1 is the last class: the loss of integer labels counts labels from -V
# to -1 from the end, as NumPy's indexing does, and only those outside of that are NaN.
#
# Padded sequences often carry -1 where there is no target. Such a step gets a finite loss and a
# gradient that teaches the model to answer with the last class of the vocabulary, where PyTorch
# raises for every negative label but its ignore_index, -100. In optax -100 is NaN with fewer
# than 100 classes, and a class with more. Masks, not labels, say what is padding.
#
# Output seen (losses for logits 1, 2, 4; of the label 2 it is 0.17, of 0 it is 3.17):
#   jax 0.10.2, optax 0.2.8  -1: 0.17    -3: 3.17    -4: nan    3: nan
# Exits 1 if this changes.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PIP_QUIET=1 PIP_DISABLE_PIP_VERSION_CHECK=1 JAX_PLATFORMS=cpu
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install jax==0.10.2 jaxlib==0.10.2 optax==0.2.8

cat >"$work/program.py" <<'PYTHON'
import jax
import jax.numpy as jnp
import optax


def loss(label):
    logits = jnp.array([1.0, 2.0, 4.0])
    return optax.softmax_cross_entropy_with_integer_labels(logits, jnp.array(label))


found = "    ".join(f"{label}: {loss(label):.2f}" for label in (-1, -3, -4, 3))
print(f"jax {jax.__version__}, optax {optax.__version__}  {found}")
PYTHON

line=$("$work/venv/bin/python" "$work/program.py")
echo "$line"
expected='jax 0.10.2, optax 0.2.8  -1: 0.17    -3: 3.17    -4: nan    3: nan'
[ "$line" = "$expected" ] || { echo "expected: $expected" >&2; exit 1; }
