"""Writes files of PyTorch's and Keras' own into ``files``, for `tests/interop/test_files.py`.

Run by hand, with these libraries installed (and onnxscript for PyTorch's default exporter):

    KERAS_BACKEND=jax python tests/golden/make_files.py

Each file stands beside an ``.npz`` file of its name that holds inputs and what the library computes
from them, in the library's own layout and in float32.
"""

from __future__ import annotations

import importlib
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parent / "files"
T, B, D, H, V = 5, 3, 3, 4, 7


def save(name: str, **arrays: Any) -> None:
    """The arrays beside a file."""
    np.savez_compressed(FOLDER / f"{name}.npz", **arrays)


def torch_files() -> None:
    """A language model by both exporters and as a checkpoint, a classifier, and packed rows."""
    torch: Any = importlib.import_module("torch")
    torch.manual_seed(0)
    nn = torch.nn

    class Model(nn.Module):  # type: ignore[name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(V, D)
            self.rnn = nn.LSTM(D, H, num_layers=2, dropout=0.5)
            self.decoder = nn.Linear(H, V)

        def forward(self, ids: Any, h: Any, c: Any) -> Any:
            ys, (h, c) = self.rnn(self.embedding(ids), (h, c))
            return self.decoder(ys), h, c

    class Classifier(nn.Module):  # type: ignore[name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.GRU(D, H, num_layers=2, bidirectional=True, batch_first=True)
            self.fc = nn.Linear(2 * H, 2)

        def forward(self, xs: Any) -> Any:
            _, h = self.rnn(xs)
            return self.fc(torch.cat([h[-2], h[-1]], dim=-1))

    class Packed(nn.Module):  # type: ignore[name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.RNN(D, H, bidirectional=True)

        def forward(self, xs: Any, lengths: Any) -> Any:
            rnn = nn.utils.rnn
            packed = rnn.pack_padded_sequence(xs, lengths, enforce_sorted=False)
            return rnn.pad_packed_sequence(self.rnn(packed)[0])[0]

    ids, xs = torch.randint(V, (T, B)), torch.randn(T, B, D)
    h, c = torch.randn(2, B, H), torch.randn(2, B, H)
    lengths = torch.tensor([3, T, 1])
    for name, module, inputs, free in (
        ("torch-language-model", Model(), (ids, h, c), ({0: "T", 1: "B"}, {1: "B"}, {1: "B"})),
        ("torch-classifier", Classifier(), (xs.transpose(0, 1),), ({0: "B", 1: "T"},)),
        ("torch-packed", Packed(), (xs, lengths), ({0: "T", 1: "B"}, {0: "B"})),
    ):
        module.eval()
        names = [f"input{i}" for i in range(len(inputs))]
        torch.onnx.export(
            module, inputs, str(FOLDER / f"{name}.onnx"), dynamo=False, input_names=names,
            dynamic_axes=dict(zip(names, free, strict=True)),
        )  # fmt: skip
        if name != "torch-packed":  # the default exporter does not take packed rows
            torch.onnx.export(
                module, inputs, str(FOLDER / f"{name}-dynamo.onnx"), dynamo=True,
                external_data=False,
            )  # fmt: skip
            stripped(FOLDER / f"{name}-dynamo.onnx")
        found = module(*inputs)
        outputs = found if isinstance(found, tuple) else (found,)
        arrays = {f"input{i}": value.numpy() for i, value in enumerate(inputs)}
        arrays |= {f"output{i}": value.detach().numpy() for i, value in enumerate(outputs)}
        save(name, **arrays)
        if name == "torch-language-model":
            optimizer = torch.optim.Adam(module.parameters())
            state = {f"module.{key}": value for key, value in module.state_dict().items()}
            torch.save(
                {"epoch": 3, "state_dict": state, "optimizer": optimizer.state_dict()},
                FOLDER / f"{name}.pt",
            )


def stripped(path: Path) -> None:
    """The file again, without where in whose source code each node comes from."""
    onnx: Any = importlib.import_module("onnx")
    model = onnx.load(path)
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    for entry in (*model.graph.node, *model.graph.value_info, *model.graph.input):
        del entry.metadata_props[:]
        entry.doc_string = ""
    onnx.save(model, path)


def keras_files() -> None:
    """A tagger, Sequential, and a classifier, Functional; both with masks."""
    keras: Any = importlib.import_module("keras")
    keras.utils.set_random_seed(0)
    layers = keras.layers
    rng = np.random.default_rng(0)
    both = layers.Bidirectional(layers.GRU(H, return_sequences=True))
    tagger = keras.Sequential(
        [
            keras.Input((None,)),
            layers.Embedding(V, D, mask_zero=True),
            layers.LSTM(H, return_sequences=True),
            layers.Dropout(0.5),
            both,
            layers.TimeDistributed(layers.Dense(2)),
        ]
    )
    xs = keras.Input((None, D))
    ys = layers.SimpleRNN(H, return_sequences=True, activation="linear")(layers.Masking()(xs))
    ys = layers.GRU(H, reset_after=False, go_backwards=True)(ys)
    classifier = keras.Model(xs, layers.Dense(2)(layers.Dropout(0.5)(ys)))
    lengths = np.arange(T) < np.array([[T], [2], [3]])
    ids = np.where(lengths, rng.integers(1, V, (B, T)), 0)
    features = np.where(lengths[..., None], rng.normal(size=(B, T, D)), 0).astype(np.float32)
    for name, model, inputs in (("tagger", tagger, ids), ("classifier", classifier, features)):
        model.set_weights([rng.normal(0, 0.5, w.shape) for w in model.get_weights()])
        path = FOLDER / f"keras-{name}.keras"
        model.save(path)
        packed(path)
        save(f"keras-{name}", input0=inputs, output0=model(inputs), lengths=lengths.sum(1))


def packed(path: Path) -> None:
    """The archive again, compressed, without the time and the addresses at which it was written."""
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    metadata = json.loads(files["metadata.json"])
    files["metadata.json"] = json.dumps({"keras_version": metadata["keras_version"]}).encode()
    config = json.loads(files["config.json"], object_hook=without_address)
    files["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)


def without_address(node: dict[str, Any]) -> dict[str, Any]:
    """An object of a config without ``shared_object_id``, where it once lay in memory."""
    return {key: part for key, part in node.items() if key != "shared_object_id"}


if __name__ == "__main__":
    torch_files()
    keras_files()
