"""ONNX files: names, shapes, what is in them, and what is refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest

import rnn_jax as r
from rnn_jax.export import to_onnx
from tests.export.runtime import assert_near, written

KEY = jax.random.key(0)


def shape(value: Any) -> list[Any]:
    return [value.type, *value.shape]


def test_names_and_shapes(tmp_path: Path) -> None:
    layer = r.serial(r.recurrent(r.lstm(3)), r.dropout(0.5), r.recurrent(r.gru(4)))
    file = written(tmp_path, layer, layer.init(KEY, 2), lengths=True)
    assert {name: shape(value) for name, value in file.inputs.items()} == {
        "xs": ["tensor(float)", "T", "B", 2],
        "lengths": ["tensor(int32)", "B"],
        "carry_in.0": ["tensor(float)", "B", 3],
        "carry_in.1": ["tensor(float)", "B", 3],
        "carry_in.2": ["tensor(float)", "B", 4],
    }
    assert list(file.inputs)[:2] == ["xs", "lengths"]
    assert file.outputs == ["ys", "carry_out.0", "carry_out.1", "carry_out.2"]
    assert shape(file.session.get_outputs()[0]) == ["tensor(float)", "T", "B", 4]
    assert (file.model.ir_version, file.model.opset_import[0].version) == (8, 17)

    model = r.language_model(9, r.recurrent(r.gru(4)), embedding_size=3)
    file = written(tmp_path, model, model.init(KEY), ir_version=10, opset=18)
    assert {name: shape(value) for name, value in file.inputs.items()} == {
        "tokens": ["tensor(int64)", "T", "B"],
        "carry_in.0": ["tensor(float)", "B", 4],
    }
    assert file.outputs == ["logits", "carry_out.0"]
    assert shape(file.session.get_outputs()[0]) == ["tensor(float)", "T", "B", 9]
    assert (file.model.ir_version, file.model.opset_import[0].version) == (10, 18)
    names = {array.name for array in file.model.graph.initializer}
    assert {"embedding", "layer.W", "layer.R", "layer.B", "readout.w", "readout.b"} <= names


def test_recurrent_cells_are_real_operators(tmp_path: Path) -> None:
    for cell, op in ((r.elman(3), "RNN"), (r.gru(3, reset="before"), "GRU"),
                     (r.lstm(3, peepholes=True), "LSTM")):  # fmt: skip
        both = r.bidirectional(r.recurrent(cell), r.remat(r.recurrent(cell, reverse=True)))
        file = written(tmp_path, both, both.init(KEY, 2))
        (node,) = (node for node in file.model.graph.node if node.op_type in ("LSTM", "GRU", "RNN"))
        assert node.op_type == op
        assert {a.name: a.s for a in node.attribute}["direction"] == b"bidirectional"


def test_metadata_hold_what_the_inputs_cannot(tmp_path: Path) -> None:
    layer = r.recurrent(r.lstm(2, learned_carry=True))
    params = layer.init(KEY, 2)
    notes = {
        p.key: json.loads(p.value) for p in written(tmp_path, layer, params).model.metadata_props
    }
    assert notes == {"causal": True}
    params["carry"] = r.LSTMCarry(jnp.array([1.0, 2.0]), jnp.array([0.0, 3.0]))
    notes = {
        p.key: json.loads(p.value) for p in written(tmp_path, layer, params).model.metadata_props
    }
    assert notes == {"causal": True, "initial_carry": [[1.0, 2.0], [0.0, 3.0]]}
    both = r.bidirectional(layer, r.recurrent(r.gru(2), reverse=True))
    file = written(tmp_path, both, both.init(KEY, 2))
    assert {p.key: p.value for p in file.model.metadata_props} == {"causal": "false"}


def test_tied_weights_are_stored_once(tmp_path: Path) -> None:
    model = r.language_model(2000, r.recurrent(r.gru(8)), embedding_size=8, tied=True)
    file = written(tmp_path, model, model.init(KEY))
    assert 2000 * 8 * 4 < file.path.stat().st_size < 1.5 * 2000 * 8 * 4
    half = written(tmp_path, model, model.init(KEY), dtype="float16")
    assert half.path.stat().st_size < 0.8 * 2000 * 8 * 4


def test_mixed_precision_is_the_float32_layer_inside(tmp_path: Path) -> None:
    model = r.language_model(9, r.recurrent(r.gru(4)), embedding_size=3)
    params, tokens = model.init(KEY), jnp.array([[3, 1], [4, 1], [5, 8]])
    file = written(tmp_path, r.mixed_precision(model), params)
    carry = model.initial_carry((2,))
    assert_near(file.run(tokens, carry), model.apply(params, carry, tokens))


def test_an_encoder_decoder_is_two_files(tmp_path: Path) -> None:
    encoder = r.serial(r.embedding(4), r.recurrent(r.gru(8)))
    model = r.encoder_decoder(30, encoder, r.language_model(20, r.recurrent(r.gru(8))))
    params, source = model.init(KEY), jnp.array([[3, 1], [4, 1], [5, 9]])
    with pytest.raises(ValueError, match=r"two files: pass its encoder with params\['encoder'\]"):
        to_onnx(model, params, tmp_path / "a.onnx")
    read = written(tmp_path, model.encoder, params["encoder"])
    carry, _ = read.run(source, encoder.initial_carry((2,)))
    write = written(tmp_path, model.decoder, params["decoder"])
    wanted = model.apply(params, model.encode(params, source), source)
    assert_near(write.run(source, carry), wanted)


@pytest.mark.parametrize("cell", [r.gru(3), r.lstm(3), r.elman(3), r.min_gru(3)])
@pytest.mark.parametrize("ids", [False, True])
def test_a_runtime_refuses_what_has_no_meaning(cell: Any, ids: bool, tmp_path: Path) -> None:
    """Lengths beyond T or below 0, ids outside the vocabulary; a sequence of no steps or rows is
    stopped by a node of its own."""
    layer = r.recurrent(cell)
    file = written(tmp_path, layer, layer.init(KEY, 5), tokens=ids, lengths=True)

    def run(steps: int, rows: int, lengths: list[int], token: int = 0) -> Any:
        xs = np.full((steps, rows), token) if ids else np.zeros((steps, rows, 5))
        return file.run(xs, layer.initial_carry((rows,)), lengths)

    run(2, 2, [2, 0], 4)
    names = [name for node in file.model.graph.node for name in node.output]
    assert "first_of_at_least_one_step" in names
    for wrong in ((2, 2, [3, 1]), (2, 2, [1, -1])):
        with pytest.raises(Exception, match="ONNXRuntimeError"):
            run(*wrong)
    for token in (-1, 5, 2**40) if ids else ():
        with pytest.raises(Exception, match="out of data bounds"):
            run(1, 1, [1], token)


def test_bad_arguments(tmp_path: Path) -> None:
    layer, file = r.recurrent(r.gru(3)), tmp_path / "a.onnx"
    params = layer.init(KEY, 2)
    for wrong, words in (
        ({"opset": 16}, "the opset must be one of 17 … "),
        ({"opset": "17"}, "not '17'"),
        ({"ir_version": 7}, "the ir_version must be one of 8 … "),
        ({"dtype": "bfloat16"}, "takes the dtype float32 or float16, not 'bfloat16'"),
        ({"dtype": "float64"}, "recurrent operators know no other"),
        ({"dtype": "fast"}, "not 'fast'"),
        ({"input_size": 0}, "input_size must be an integer of at least 1"),
        ({"input_size": 4}, "do not fit parameters made for 2 features"),
    ):
        with pytest.raises(ValueError, match=words):
            to_onnx(layer, params, file, **wrong)
    for dtype in ("bfloat16", "float16"):
        narrow = jax.tree.map(lambda p, dtype=dtype: p.astype(dtype), params)
        with pytest.raises(
            ValueError, match=f"takes parameters of float32, and b is {dtype}: conv"
        ):
            to_onnx(layer, narrow, file)
    with pytest.raises(ValueError, match="w_hh is float64"):
        to_onnx(layer, {**params, "w_hh": np.zeros((3, 9))}, file)
    with pytest.raises(ValueError, match="w_hh holds numbers beyond float16's 65504"):
        to_onnx(layer, {**params, "w_hh": 1e7 * params["w_hh"]}, file, dtype="float16")
    with pytest.raises(ValueError, match="the parameters lack w_hh"):
        to_onnx(layer, {"w_ih": params["w_ih"]}, file)
    with pytest.raises(ValueError, match=r"to_onnx\(\) takes a layer or model, not GRUAfter"):
        to_onnx(r.gru(3), params, file)  # type: ignore[arg-type]
    model = r.language_model(9, layer)
    with pytest.raises(ValueError, match="LanguageModel reads token ids and no features"):
        to_onnx(model, model.init(KEY), file, tokens=False)
    with pytest.raises(
        ValueError, match=r"Dropout do not tell how many features it reads: .* as inp"
    ):
        to_onnx(r.dropout(0.5), {}, file)
    complex_layer = r.recurrent(r.lru(3))
    with pytest.raises(ValueError, match="cannot write the cell LRU, whose carry is of complex"):
        to_onnx(complex_layer, complex_layer.init(KEY, 2), file)
    assert not list(tmp_path.iterdir())


def test_a_file_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layer, file = r.recurrent(r.gru(3)), tmp_path / "folder" / "a.onnx"
    params = layer.init(KEY, 2)
    to_onnx(layer, params, file)
    before = file.read_bytes()
    with pytest.raises(ValueError, match=r"b\.onnx cannot be written: "):
        to_onnx(layer, params, file / "b.onnx")

    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ValueError, match="cannot be written: No space left on device"):
        to_onnx(layer, layer.init(jax.random.key(1), 2), file)
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == ["a.onnx"]


def test_without_onnx_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    layer = r.recurrent(r.gru(3))
    with pytest.raises(ValueError, match=r"pip install 'rnn-jax-functional\[onnx\]'"):
        to_onnx(layer, layer.init(KEY, 2), tmp_path / "a.onnx")


def test_equal_parameters_make_equal_files(tmp_path: Path) -> None:
    layer = r.serial(r.recurrent(r.gru(3)), r.recurrent(r.lstm(2, layer_norm=True)))
    params = layer.init(KEY, 2)
    one = written(tmp_path, layer, params).path.read_bytes()
    assert written(tmp_path, layer, params).path.read_bytes() == one
    arrays = onnx_arrays(written(tmp_path, layer, params))
    with jax.enable_x64(True):
        assert_near(onnx_arrays(written(tmp_path, layer, params)), arrays)


def onnx_arrays(file: Any) -> list[np.ndarray]:
    return [onnx.numpy_helper.to_array(array) for array in file.model.graph.initializer]


@pytest.mark.parametrize("change", [{"b": None}, {"b": np.float32(1)}, {"w_hh": np.ones((2, 9))}])
def test_parameters_that_do_not_fit(change: Any, tmp_path: Path) -> None:
    layer = r.recurrent(r.gru(3))
    params = layer.init(KEY, 5) | change
    with pytest.raises(ValueError, match=r"^to_onnx\(\) "):
        to_onnx(layer, params, tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())
