#!/usr/bin/env bash
# On a CPU, torch.nn.LSTM is one call of oneDNN, forward and one backward, for all steps and gates.
# torch.nn.GRU, which has three gates where an LSTM has four and about three quarters of its
# arithmetic, is not: it computes each step by products and pointwise operations of their own, in
# training as in inference. So who takes a GRU because it is the cheaper cell gets the dearer layer:
# forward and backward, one sequence of 100 steps and 256 units takes 4.8 ms as an LSTM and 21 ms as a
# GRU, 16 of 512 steps and 128 units 43 and 153 ms, on two cores of an AMD EPYC. Their docstrings do
# not mention it.
#
# Output seen (calls of oneDNN's layers, and products, of a forward and backward pass of 100 steps):
#   torch 2.14.1  LSTM: 2 calls of oneDNN, 0 products; GRU: 0 calls of oneDNN, 301 products
# Exits 1 if this changes.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PIP_QUIET=1 PIP_DISABLE_PIP_VERSION_CHECK=1
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install "torch==2.14.1" numpy

cat >"$work/program.py" <<'PYTHON'
import torch
from torch.profiler import ProfilerActivity, profile

STEPS, UNITS = 100, 256
ONEDNN = ("aten::mkldnn_rnn_layer", "aten::mkldnn_rnn_layer_backward")
PRODUCTS = ("aten::mm", "aten::addmm")
torch.manual_seed(0)
inputs = torch.randn(STEPS, 1, UNITS)


def calls(kind):
    """How often a training pass calls oneDNN's layers, and how many products it has besides."""
    layer = kind(UNITS, UNITS)
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        outputs, _ = layer(inputs)
        torch.autograd.grad(outputs.sum(), list(layer.parameters()))
    counts = {event.key: event.count for event in profiled.key_averages()}
    whole, single = (sum(counts.get(n, 0) for n in names) for names in (ONEDNN, PRODUCTS))
    return f"{kind.__name__}: {whole} calls of oneDNN, {single} products"


print(
    f"torch {torch.__version__.partition('+')[0]}  "
    + "; ".join(calls(kind) for kind in (torch.nn.LSTM, torch.nn.GRU))
)
PYTHON

line=$("$work/venv/bin/python" "$work/program.py" 2>/dev/null)
echo "$line"
expected='torch 2.14.1  LSTM: 2 calls of oneDNN, 0 products; GRU: 0 calls of oneDNN, 301 products'
[ "$line" = "$expected" ] || { echo "expected: $expected" >&2; exit 1; }
