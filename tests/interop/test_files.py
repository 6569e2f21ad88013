"""Files that PyTorch and Keras wrote: the models in them against what these libraries computed.

`tests/golden/make_files.py` wrote them.
"""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnn_jax as r
import rnn_jax.interop
from rnn_jax.interop import save_params, to_flax
from tests.cases import quick_jit

FOLDER = Path(__file__).parents[1] / "golden" / "files"


# As of whichever class the test expects.
def from_onnx(name: str) -> Any:
    return rnn_jax.interop.from_onnx(FOLDER / name)


def load_keras(path: Path, **options: Any) -> Any:
    return rnn_jax.interop.load_keras(path, **options)


def load_torch_model(path: Path, **options: Any) -> Any:
    return rnn_jax.interop.load_torch_model(path, **options)


def from_torch_model(source: Any, **options: Any) -> Any:
    return rnn_jax.interop.from_torch_model(source, **options)


def from_flax_tree(tree: Any, **options: Any) -> Any:
    return rnn_jax.interop.from_flax_tree(tree, **options)


@quick_jit
def applied(model: Any, params: Any, carry: Any, xs: Any, mask: Any) -> Any:
    return model.apply(params, carry, xs, mask=mask)


def read(name: str) -> Any:
    """The arrays beside a file."""
    with np.load(FOLDER / f"{name}.npz") as file:
        return {key: jnp.asarray(array) for key, array in file.items()}


def assert_equal(ours: Any, theirs: Any) -> None:
    np.testing.assert_allclose(np.asarray(ours), theirs, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("file", ["", "-dynamo", ".pt"])
def test_a_language_model_of_pytorch(file: str) -> None:
    name = "torch-language-model"
    if file == ".pt":
        model, params = load_torch_model(FOLDER / f"{name}.pt")
    else:
        pytest.importorskip("onnx")
        model, params = from_onnx(f"{name}{file}.onnx")
    assert isinstance(model, r.LanguageModel) and (model.vocab_size, model.embedding_size) == (7, 3)
    golden = read(name)
    h, c = golden["input1"], golden["input2"]
    carry = tuple(r.LSTMCarry(h[i], c[i]) for i in range(2))
    carry, logits = applied(model, params, carry, golden["input0"], None)
    assert_equal(logits, golden["output0"])
    assert_equal(np.stack([h for h, _ in carry]), golden["output1"])
    assert_equal(np.stack([c for _, c in carry]), golden["output2"])


@pytest.mark.parametrize("file", ["torch-classifier.onnx", "torch-classifier-dynamo.onnx"])
def test_a_classifier_of_pytorch(file: str) -> None:
    """Of the final states of both directions."""
    pytest.importorskip("onnx")
    golden = read("torch-classifier")
    model, params = from_onnx(file)
    assert isinstance(model, r.SequenceClassifier) and model.pooling == "last"
    xs = golden["input0"].swapaxes(0, 1)
    assert_equal(applied(model, params, None, xs, None)[1], golden["output0"])


def test_packed_rows_of_pytorch() -> None:
    """The exported graph sorts them by length, and restores their order."""
    pytest.importorskip("onnx")
    golden = read("torch-packed")
    layer, params = from_onnx("torch-packed.onnx")
    mask = r.length_mask(golden["input1"], len(golden["input0"]))
    assert_equal(applied(layer, params, None, golden["input0"], mask)[1], golden["output0"])


@pytest.mark.parametrize("apart", [False, True])
def test_a_tagger_of_keras(tmp_path: Path, apart: bool) -> None:
    """Of a .keras file, or of the weights and the config apart."""
    pytest.importorskip("h5py")
    golden, path = read("keras-tagger"), FOLDER / "keras-tagger.keras"
    model, params = load_keras(path)
    if apart:
        with zipfile.ZipFile(path) as archive:
            (tmp_path / "config.json").write_bytes(archive.read("config.json"))
            (tmp_path / "a.weights.h5").write_bytes(archive.read("model.weights.h5"))
        with pytest.raises(ValueError, match="give config="):
            load_keras(tmp_path / "a.weights.h5")
        again = load_keras(tmp_path / "a.weights.h5", config=tmp_path / "config.json")
        assert again[0] == model
        jax.tree.map(np.testing.assert_array_equal, again[1], params)
    assert isinstance(model, r.SequenceTagger) and model.input_size == 7
    ids = golden["input0"].T
    mask = ids != 0
    ys = applied(model, params, None, ids, mask)[1].swapaxes(0, 1)
    assert_equal(ys[mask.T], golden["output0"][mask.T])


def test_a_classifier_of_keras() -> None:
    pytest.importorskip("h5py")
    golden = read("keras-classifier")
    model, params = load_keras(FOLDER / "keras-classifier.keras")
    assert model.layer.layers[1].reverse and isinstance(model, r.SequenceClassifier)
    xs = golden["input0"].swapaxes(0, 1)
    assert_equal(applied(model, params, None, xs, (xs != 0).any(-1))[1], golden["output0"])


def changed(tmp_path: Path, change: Any) -> Path:
    """A .keras file whose config is changed in place."""
    with zipfile.ZipFile(FOLDER / "keras-tagger.keras") as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(files["config.json"])
    change(config, {layer["class_name"]: layer for layer in config["config"]["layers"]})
    files["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(tmp_path / "a.keras", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return tmp_path / "a.keras"


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda c, by: by["Dropout"].update(class_name="Reshape"), "'dropout' is a Reshape"),
        (lambda c, by: by["LSTM"].update(module="mine"), "of a class of your own, LSTM"),
        (lambda c, by: by["LSTM"]["config"].update(activation="relu"), "LSTM with activation"),
        (
            lambda c, by: by["LSTM"]["config"].update(return_sequences=False),
            "'bidirectional' reads",
        ),
        (lambda c, by: by["LSTM"]["config"].update(return_state=True), "returns its state"),
        (
            lambda c, by: by["LSTM"]["config"].update(name="other"),
            "no weights of its layer 'other'",
        ),
        (lambda c, by: by["Bidirectional"]["config"].update(merge_mode="ave"), "merge_mode 'ave'"),
        (
            lambda c, by: by["TimeDistributed"]["config"]["layer"]["config"].update(
                activation="relu"
            ),
            "a Dense with activation 'relu'",
        ),
        (
            lambda c, by: by["LSTM"]["config"].update(go_backwards=True),
            "'lstm' runs backwards and hands its outputs on in reversed order.* 'bidirectional'",
        ),
        *(
            (
                lambda c, by, option=option: by["TimeDistributed"].update(
                    class_name="GlobalAveragePooling1D", config={"name": "pooling", **option}
                ),
                "'pooling' pools over something else than steps, or keeps the axis",
            )
            for option in ({"data_format": "channels_first"}, {"keepdims": True})
        ),
        (lambda c, by: c.update(class_name="Mine"), "it is a Mine"),
        (lambda c, by: by["LSTM"].update(config=[]), "not as Keras writes it"),
        (lambda c, by: by["Dropout"]["config"].update(rate="much"), "not as Keras writes it"),
        (lambda c, by: c["config"]["layers"].append(None), "not as Keras writes it"),
        (lambda c, by: c["config"].pop("layers"), "no config of a Keras model"),
        (lambda c, by: by["LSTM"]["config"].pop("activation"), "its config lacks 'activation'"),
    ],
)
def test_what_keras_has_and_no_layer_does_is_named(
    tmp_path: Path, change: Any, message: str
) -> None:
    pytest.importorskip("h5py")
    with pytest.raises(ValueError, match=message):
        load_keras(changed(tmp_path, change))


@pytest.mark.parametrize("elsewhere", ["link", "soft link", "storage", "virtual"])
def test_weights_are_read_from_no_other_file(tmp_path: Path, elsewhere: str) -> None:
    h5py = pytest.importorskip("h5py")
    with zipfile.ZipFile(FOLDER / "keras-tagger.keras") as archive:
        (tmp_path / "config.json").write_bytes(archive.read("config.json"))
        stream = io.BytesIO(archive.read("model.weights.h5"))
    with h5py.File(stream, "r") as file, h5py.File(tmp_path / "a.weights.h5", "w") as copy:
        file.copy("layers", copy)
        group = copy["layers/lstm/cell/vars"]
        array = group["0"][()]
        del group["0"]
        with h5py.File(tmp_path / "other.h5", "w") as other:
            other["a"] = array
        array.tofile(tmp_path / "other.bin")
        if elsewhere == "link":
            group["0"] = h5py.ExternalLink("other.h5", "a")
        elif elsewhere == "soft link":
            group["0"] = h5py.SoftLink("../1")
        elif elsewhere == "storage":
            where = [(str(tmp_path / "other.bin"), 0, array.nbytes)]
            group.create_dataset("0", array.shape, array.dtype, external=where)
        else:
            layout = h5py.VirtualLayout(array.shape, array.dtype)
            layout[:] = h5py.VirtualSource(tmp_path / "other.h5", "a", array.shape)
            group.create_virtual_dataset("0", layout)
    with pytest.raises(ValueError, match="'0' is a link or lies in another file: only"):
        load_keras(tmp_path / "a.weights.h5", config=tmp_path / "config.json")


def weights(**shapes: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Arrays of these shapes; `__` in a name is a dot."""
    rng = np.random.default_rng(0)
    return {
        name.replace("__", "."): rng.normal(size=shape).astype(np.float32)
        for name, shape in shapes.items()
    }


RNN = {"rnn__weight_ih_l0": (4, 3), "rnn__weight_hh_l0": (4, 4)}


def test_state_dicts_of_models_under_any_prefix(tmp_path: Path) -> None:
    shapes = {"embedding__weight": (7, 3), **RNN, "fc__weight": (7, 4), "fc__bias": (7,)}
    plain = weights(**shapes)
    model, params = from_torch_model(plain)
    cell = r.elman(4, bias=False)
    assert model == r.language_model(7, r.recurrent(cell), embedding_size=3)
    np.testing.assert_array_equal(params["readout"]["w"], plain["fc.weight"].T)
    for prefix in ("model.", "module.model.", "0."):
        again = from_torch_model({f"{prefix}{name}": a for name, a in plain.items()})
        assert again[0] == model
        jax.tree.map(np.testing.assert_array_equal, again[1], params)
    # As a file: names with dots are nested dicts for `load_params`, and one name for PyTorch.
    save_params(tmp_path / "a.safetensors", plain)
    again = load_torch_model(tmp_path / "a.safetensors", nonlinearity="relu")
    assert again[0] == r.language_model(
        7, r.recurrent(r.elman(4, bias=False, activation=jax.nn.relu)), embedding_size=3
    )


def test_gates_tell_the_kind_and_a_list_is_a_stack() -> None:
    base = {"emb__weight": (7, 3), "out__weight": (7, 4)}
    for gates, cell in ((4, r.lstm(4, bias=False)), (3, r.gru(4, bias=False))):
        shapes = {"cell__weight_ih": (4 * gates, 3), "cell__weight_hh": (4 * gates, 4)}
        model, _ = from_torch_model(weights(**base, **shapes))
        assert model.layer == r.recurrent(cell) and not model.bias
    # AWD-LSTM: a numbered list, raw weights beside the dropped, a read-out that is the embedding.
    sizes = [(3, 4), (4, 5), (5, 3)]
    shapes = {"0__encoder__weight": (7, 3), "0__encoder_dp__emb__weight": (7, 3)}
    for i, (inputs, size) in enumerate(sizes):
        shapes |= {
            f"0__rnns__{i}__module__weight_ih_l0": (4 * size, inputs),
            f"0__rnns__{i}__module__weight_hh_l0": (4 * size, size),
            f"0__rnns__{i}__weight_hh_l0_raw": (4 * size, size),
        }
    tensors = weights(**shapes, **{"1__decoder__weight": (7, 3), "1__decoder__bias": (7,)})
    for name in ("1.decoder.weight", "0.encoder_dp.emb.weight"):
        tensors[name] = tensors["0.encoder.weight"]
    model, params = from_torch_model(tensors, dropout_rate=0.1)
    stack = [r.recurrent(r.lstm(size, bias=False)) for _, size in sizes]
    assert model.tied and "w" not in params["readout"]
    assert model.layer == r.serial(stack[0], r.dropout(0.1), stack[1], r.dropout(0.1), stack[2])
    raw = tensors["0.rnns.1.weight_hh_l0_raw"]
    np.testing.assert_array_equal(params["layer"]["2"]["w_hh"], raw.T)


@pytest.mark.parametrize("paths", [("rnn1", "rnn2"), ("rnns__0", "rnns__2"), ("a__0", "b__1")])
def test_only_a_whole_numbered_list_is_a_stack(paths: tuple[str, ...]) -> None:
    shapes = {f"{path}__weight_{end}": (4, 4) for path in paths for end in ("ih", "hh")}
    names = ", ".join(paths).replace("__", ".")
    with pytest.raises(ValueError, match=f"modules {names}, and does not say how"):
        from_torch_model(weights(emb__weight=(7, 4), **shapes, out__weight=(7, 4)))


def test_other_models_of_a_state_dict_are_asked_for() -> None:
    plain = weights(embedding__weight=(7, 3), **RNN, fc__weight=(2, 4), fc__bias=(2,))
    with pytest.raises(ValueError, match="an embedding of 7 ids and a read-out of 2 outputs: say"):
        from_torch_model(plain)
    model, params = from_torch_model(plain, model="sequence_classifier")
    assert isinstance(model, r.SequenceClassifier)
    assert applied(model, params, None, jnp.zeros((5, 3), int), None)[1].shape == (3, 2)
    del plain["embedding.weight"]
    model, params = from_torch_model(plain, model="sequence_tagger")
    assert isinstance(model, r.SequenceTagger)
    assert applied(model, params, None, jnp.zeros((5, 2, 3)), None)[1].shape == (5, 2, 2)
    # Of both directions, it could be a tagger as well, or rather.
    both = weights(
        embedding__weight=(7, 3), **RNN, **{f"{name}_reverse": RNN[name] for name in RNN},
        fc__weight=(7, 8),
    )  # fmt: skip
    with pytest.raises(ValueError, match="7 outputs, and runs in both directions: say"):
        from_torch_model(both)
    assert isinstance(from_torch_model(both, model="sequence_tagger")[0], r.SequenceTagger)
    # Without an embedding, ids are one-hot vectors.
    one_hot = weights(**RNN, fc__weight=(3, 4))
    model, _ = from_torch_model(one_hot, model="language_model")
    assert model == r.language_model(3, r.recurrent(r.elman(4, bias=False)), bias=False)


@pytest.mark.parametrize(
    "more, message",
    [
        ({"norm__weight": (4,)}, "has norm .* neither a recurrent module nor"),
        ({"fc2__weight": (2, 4), "fc2__bias": (2,)}, "the read-outs fc, fc2"),
        ({"table__weight": (9, 3)}, "the embeddings embedding, table"),
        ({"mid__weight": (9, 8)}, "mid.weight, of 8 columns, fits neither the 3 features"),
        ({"enc__weight_ih_l0": (4, 3), "enc__weight_hh_l0": (4, 4)}, "modules rnn, enc"),
        ({"rnn__weight_hh_l1": (4, 4)}, "in rnn, "),
        ({"rnn__parametrizations__weight_hh_l0__original0": (4, 1)}, "has rnn.parametrizations"),
    ],
)
def test_what_a_state_dict_does_not_say_is_named(more: Any, message: str) -> None:
    base = {"embedding__weight": (7, 3), **RNN, "fc__weight": (7, 4), "fc__bias": (7,)}
    with pytest.raises(ValueError, match=message):
        from_torch_model(weights(**base, **more))


def test_state_dicts_that_are_none_or_ambiguous() -> None:
    base = weights(embedding__weight=(7, 4), rnn__weight_ih_l0=(4, 4), rnn__weight_hh_l0=(4, 4))
    for source, message in (
        ({"weight": np.zeros((2, 2))}, "no state dict of a model with a recurrent module"),
        ({"a": base, "b": dict(base)}, "several state dicts, 'a' and 'b'"),
        (base, "has no linear read-out"),
        (
            {**base, "x.weight": np.zeros((7, 4))},
            "x.weight, .* could be an embedding or a read-out",
        ),
        ({**base, "rnn.weight_hh_l0": np.zeros((20, 4))}, "an LSTM, GRU or RNN has 4, 3 or 1"),
    ):
        with pytest.raises(ValueError, match=message):
            from_torch_model(source)
    with pytest.raises(ValueError, match="model must be"):
        from_torch_model({**base, "fc.weight": np.zeros((2, 4))}, model="classifier")


FLAX: list[tuple[r.Cell, str]] = [
    *((cell, kind) for cell in (r.elman(4), r.lstm(4)) for kind in ("linen", "nnx")),
    (r.gru(4), "linen"),
    (r.gru(4, recurrent_bias=False), "nnx"),
    (r.lstm(4), "nnx-optimized"),
]


FLAX_NAMES = [f"{type(cell).__name__}-{kind}" for cell, kind in FLAX]


@pytest.mark.parametrize("cell, kind", FLAX, ids=FLAX_NAMES)
def test_a_tree_of_flax_tells_its_cell(cell: r.Cell, kind: Any) -> None:
    params = cell.init(jax.random.key(0), 3)
    layer, found = from_flax_tree({"params": {"cell": to_flax(cell, params, kind=kind)}})
    assert layer == r.recurrent(cell)
    np.testing.assert_array_equal(found["w_hh"], params["w_hh"])


def test_a_tree_of_flax_tells_its_model() -> None:
    cell = r.lstm(4)
    dense = {"kernel": np.ones((4, 2)), "bias": np.ones(2)}
    tree: dict[str, Any] = {
        "LSTMCell_0": to_flax(cell, cell.init(jax.random.key(0), 3)),
        "Dense_0": dense,
    }
    model, _ = from_flax_tree(tree)
    assert model == r.sequence_tagger(2, r.recurrent(cell), input_size=3)
    model, _ = from_flax_tree({**tree, "Embed_0": {"embedding": np.ones((7, 3))}}, pooling="mean")
    layer = r.serial(r.embedding(3), r.recurrent(cell))
    assert model == r.sequence_classifier(2, layer, input_size=7, pooling="mean")
    for wrong, message in (
        ({**tree, "norm": {"scale": np.ones(3)}}, r"the tree has norm\.scale, which belongs to no"),
        ({**tree, "Dense_1": dense}, "its linear maps are Dense_0, Dense_1"),
        ({"Dense_0": dense}, "its recurrent cells are none"),
        ({**tree, "Dense_0": {"kernel": np.ones((5, 2))}}, "gives 4 features and the next one"),
        ([], "the tree has list"),
        ({"Dense_0": {"kernel": np.ones(4)}}, r"Dense_0\.kernel should be a matrix .* \(4,\)"),
        ({**tree, "Dense_0": {"kernel": "a text"}}, r"Dense_0\.kernel should be a matrix"),
        ({**tree, "Dense_0": {**dense, "bias": {}}}, r"Dense_0\.kernel, which belongs to no"),
        ({"LSTMCell_0": {**tree["LSTMCell_0"], "hi": {"kernel": 3.0}}}, r"hi\.kernel should be"),
        ({"forward_rnn": 3, "backward_rnn": 3}, r"\.forward_rnn is none of the cells"),
    ):
        with pytest.raises(ValueError, match=message):
            from_flax_tree(wrong)
    with pytest.raises(ValueError, match="pooling must be"):
        from_flax_tree(tree, pooling="first")
