#!/usr/bin/env bash
# torch.nn.functional.linear_cross_entropy, new in PyTorch 2.13, computes the loss of a linear
# read-out in chunks of rows, so that the logits of all rows are never held. How many rows a chunk
# has is chosen from the shapes. The documentation of LinearCrossEntropyOptions says that chunking
# pays from as many rows as features on, where there are more classes than features. But with as
# many rows as a small language model's step has, a chunk is one row: three products of a matrix
# and a vector for each, the gradient of the whole read-out added up row by row, where the plain
# loss has three products in all. With 140 rows of 128 features and 16,384 classes that took 12
# times as long as the plain loss on two cores of a CPU (450 against 37 ms), and a training step
# with it 5 times (168 against 31 ms on another); with 2,048 rows it was still more than twice. The
# option batch_chunk_size sets the rows of a chunk.
#
# Output seen (matrix products of one loss and its gradients, and whether the values agree):
#   torch 2.13.0  140 rows: 420 products by its own choice, 3 plain, 3 with batch_chunk_size=140; same loss
# Exits 1 if this changes.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PIP_QUIET=1 PIP_DISABLE_PIP_VERSION_CHECK=1
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install "torch==2.13.0" numpy

cat >"$work/program.py" <<'PYTHON'
import torch
from torch.nn import LinearCrossEntropyOptions as Options
from torch.nn.functional import linear_cross_entropy
from torch.profiler import ProfilerActivity, profile

ROWS, FEATURES, CLASSES = 140, 128, 16384
torch.manual_seed(0)
x = torch.randn(ROWS, FEATURES, requires_grad=True)
w = (0.05 * torch.randn(CLASSES, FEATURES)).requires_grad_()
targets = torch.randint(CLASSES, (ROWS,))


def products(options):
    """How many products of matrices a loss and its gradients take, and the loss."""
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        loss = linear_cross_entropy(x, w, targets, options=options)
        loss.backward()
    names = ("aten::mm", "aten::addmm", "aten::addmm_")
    return sum(e.count for e in profiled.key_averages() if e.key in names), loss.detach()


own, plain, all_rows = map(products, (Options(), None, Options(batch_chunk_size=ROWS)))
same = all(torch.allclose(loss, plain[1], rtol=1e-5) for _, loss in (own, all_rows))
print(
    f"torch {torch.__version__.partition('+')[0]}  {ROWS} rows: {own[0]} products by its own "
    f"choice, {plain[0]} plain, {all_rows[0]} with batch_chunk_size={ROWS}; "
    + ("same loss" if same else "other losses")
)
PYTHON

line=$("$work/venv/bin/python" "$work/program.py" 2>/dev/null)
echo "$line"
expected='torch 2.13.0  140 rows: 420 products by its own choice, 3 plain, 3 with batch_chunk_size=140; same loss'
[ "$line" = "$expected" ] || { echo "expected: $expected" >&2; exit 1; }
