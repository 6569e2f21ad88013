#!/usr/bin/env bash
# onnx.reference.ReferenceEvaluator comes with the format, and is what one reaches for as its oracle.
# It runs an LSTM with all that the specification allows, and leaves much of it unread without an
# error or a warning: sequence_lens, so that a padded row is computed through its padding; clip;
# input_forget; activations. ONNX Runtime does what the specification says. So a test that holds an
# exporter or a runtime against the evaluator fails where they are right, and passes where the
# exporter forgets the lengths.
#
# Output seen (the largest difference from the same LSTM without that input or attribute):
#   onnx 1.23.2 | onnxruntime 1.32.0
#   sequence_lens: 0 | 0.6
#   clip: 0 | 0.4
#   input_forget: 0 | 0.25
#   activations: 0 | 0.22
# Exits 1 if the evaluator reads one of them, or ONNX Runtime does not.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PIP_QUIET=1 PIP_DISABLE_PIP_VERSION_CHECK=1
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install "onnx==1.23.2" "onnxruntime==1.32.0" "numpy==2.3.5"

cat >"$work/program.py" <<'PYTHON'
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

STEPS, BATCH, SIZE = 4, 2, 3
rng = np.random.default_rng(0)
X = rng.standard_normal((STEPS, BATCH, SIZE), np.float32)
WEIGHTS = {name: rng.standard_normal((1, 4 * SIZE, SIZE), np.float32) for name in ("w", "r")}
LENGTHS = {"lengths": np.array([STEPS, 1], np.int32)}


def results(lengths={}, **attributes):
    """The states of one LSTM by the reference evaluator and by ONNX Runtime."""
    inputs = ["x", "w", "r", *(["", "lengths"] if lengths else [])]
    graph = helper.make_graph(
        [helper.make_node("LSTM", inputs, ["y"], hidden_size=SIZE, **attributes)],
        "one_node",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, X.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [STEPS, 1, BATCH, SIZE])],
        [numpy_helper.from_array(value, name) for name, value in {**WEIGHTS, **lengths}.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return [run.run(None, {"x": X})[0] for run in (ReferenceEvaluator(model), session)]


plain = results()
assert np.allclose(*plain, atol=1e-5), "the two differ on a plain LSTM"
print(f"onnx {onnx.__version__} | onnxruntime {onnxruntime.__version__}")
unread = True
for name, changed in {
    "sequence_lens": {"lengths": LENGTHS},
    "clip": {"clip": 0.5},
    "input_forget": {"input_forget": 1},
    "activations": {"activations": ["Sigmoid", "Tanh", "Softsign"]},
}.items():
    evaluator, runtime = (
        float(abs(now - before).max()) for now, before in zip(results(**changed), plain)
    )
    print(f"{name}: {evaluator:.2g} | {runtime:.2g}")
    unread &= evaluator == 0 and runtime > 0.01
sys.exit(not unread)
PYTHON

"$work/venv/bin/python" "$work/program.py"
