#!/usr/bin/env bash
# ONNX's RNN, GRU and LSTM name their activations by strings, and the schema does not say whether case
# counts; onnx.checker takes "tanh" and "Tanh". ONNX Runtime lowers the names for GRU and LSTM, but its
# RNN kernel compares them as they are: a file with activations=["tanh"], the very function that is the
# default, passes the checker and is refused when it is loaded, where the same name in a GRU or an LSTM
# is not. A writer of files that was tested with those two fails with the third: write "Tanh".
#
# Output seen:
#   onnxruntime 1.32.0  LSTM tanh: runs; GRU tanh: runs; RNN tanh: refused; RNN Tanh: runs
# Exits 1 if this changes.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PIP_QUIET=1 PIP_DISABLE_PIP_VERSION_CHECK=1
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install "onnx==1.23.2" "onnxruntime==1.32.0" numpy

cat >"$work/program.py" <<'PYTHON'
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

STEPS, BATCH, SIZE = 3, 1, 2


def outcome(operator, gates, activations):
    """What becomes of a model of one recurrent node."""
    weights = np.full((1, gates * SIZE, SIZE), 0.1, np.float32)
    graph = helper.make_graph(
        [helper.make_node(operator, ["x", "w", "r"], ["y"], hidden_size=SIZE, activations=activations)],
        "one_node",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [STEPS, BATCH, SIZE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [STEPS, 1, BATCH, SIZE])],
        [numpy_helper.from_array(weights, name) for name in ("w", "r")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        session.run(None, {"x": np.ones((STEPS, BATCH, SIZE), np.float32)})
    except Exception as error:
        assert "activation" in str(error), error
        return "refused"
    return "runs"


print(
    f"onnxruntime {onnxruntime.__version__}  LSTM tanh: {outcome('LSTM', 4, ['sigmoid', 'tanh', 'tanh'])}; "
    f"GRU tanh: {outcome('GRU', 3, ['sigmoid', 'tanh'])}; "
    f"RNN tanh: {outcome('RNN', 1, ['tanh'])}; RNN Tanh: {outcome('RNN', 1, ['Tanh'])}"
)
PYTHON

line=$("$work/venv/bin/python" "$work/program.py")
echo "$line"
expected='onnxruntime 1.32.0  LSTM tanh: runs; GRU tanh: runs; RNN tanh: refused; RNN Tanh: runs'
[ "$line" = "$expected" ] || { echo "expected: $expected" >&2; exit 1; }
