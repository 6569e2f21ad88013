#!/usr/bin/env bash
# safetensors 0.8.0 saves a transposed NumPy array as other numbers, and says nothing: it writes the
# array's memory in the order in which it lies there, under the transposed shape.
#
# Weights are transposed when they go from one recurrent library to another ([H, D] in PyTorch, [D, H]
# in Keras and JAX), and w.T is such an array. `np.ascontiguousarray` before saving is the remedy.
# safetensors.torch refuses what is not contiguous.
#
# Output seen (what is loaded of the transposed [[0, 1, 2], [3, 4, 5]]):
#   safetensors 0.8.0  w.T: [[0, 1], [2, 3], [4, 5]]    np.ascontiguousarray(w.T): [[0, 3], [1, 4], [2, 5]]
# Exits 1 if this changes.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PIP_QUIET=1 PIP_DISABLE_PIP_VERSION_CHECK=1
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install safetensors==0.8.0 numpy==2.4.6

cat >"$work/program.py" <<'PYTHON'
import numpy as np
import safetensors
from safetensors.numpy import load, save


def kept(array):
    """What is loaded of an array that was saved."""
    return load(save({"w": array}))["w"].astype(int).tolist()


w = np.arange(6, dtype=np.float32).reshape(2, 3)
print(
    f"safetensors {safetensors.__version__}  w.T: {kept(w.T)}    "
    f"np.ascontiguousarray(w.T): {kept(np.ascontiguousarray(w.T))}"
)
PYTHON

line=$("$work/venv/bin/python" "$work/program.py")
echo "$line"
expected='safetensors 0.8.0  w.T: [[0, 1], [2, 3], [4, 5]]    '
expected+='np.ascontiguousarray(w.T): [[0, 3], [1, 4], [2, 5]]'
[ "$line" = "$expected" ] || { echo "expected: $expected" >&2; exit 1; }
