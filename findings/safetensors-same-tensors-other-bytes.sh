#!/usr/bin/env bash
# safetensors 0.8.0 writes the entries of a file's metadata in another order at each call, so that
# the same tensors with the same metadata make files of different bytes, within one process, too.
#
# Whoever tells files apart by their hash (a cache, a content-addressed store, a test that a resumed
# training ends in the same checkpoint) sees a change where there is none. One entry, such as one
# JSON object that holds all of them, has one order.
#
# Output seen (how many different files fifty calls make; the first number varies, above 1):
#   safetensors 0.8.0  three entries: several    one entry: 1
# Exits 1 if this changes.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PIP_QUIET=1 PIP_DISABLE_PIP_VERSION_CHECK=1
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install safetensors==0.8.0 numpy==2.4.6

cat >"$work/program.py" <<'PYTHON'
import json

import numpy as np
import safetensors
from safetensors.numpy import save

tensors = {"w": np.zeros(3, np.float32)}
entries = {"model": "lstm", "step": "100", "seed": "0"}


def files(metadata):
    """Different files of fifty calls."""
    return len({save(tensors, metadata=metadata) for _ in range(50)})


three, one = files(entries), files({"all": json.dumps(entries, sort_keys=True)})
print(
    f"safetensors {safetensors.__version__}  three entries: {'several' if three > 1 else three}    "
    f"one entry: {one}"
)
PYTHON

line=$("$work/venv/bin/python" "$work/program.py")
echo "$line"
expected='safetensors 0.8.0  three entries: several    one entry: 1'
[ "$line" = "$expected" ] || { echo "expected: $expected" >&2; exit 1; }
