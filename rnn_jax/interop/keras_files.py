"""Keras' files, ``.keras`` and ``.weights.h5``, without Keras."""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from rnn_jax.interop.keras import KerasLayer, keras_direction
from rnn_jax.interop.keras_config import opened
from rnn_jax.interop.parts import Part, joined
from rnn_jax.interop.weights import Weights, owned
from rnn_jax.layers.bidirectional import bidirectional
from rnn_jax.layers.dropout import dropout
from rnn_jax.layers.embedding import embedding
from rnn_jax.layers.linear import linear
from rnn_jax.types import Layer, Model, Params

__all__ = ["load_keras"]

_RECURRENT = ("SimpleRNN", "GRU", "LSTM")
# What acts only in training, or only says which steps are masked.
_PASSED_OVER = {
    "InputLayer",
    "Masking",
    "GaussianNoise",
    "GaussianDropout",
    "ActivityRegularization",
}
_WITH_WEIGHTS = {*_RECURRENT, "Bidirectional", "Dense", "Embedding", "TimeDistributed"}
_POOLING = {"GlobalAveragePooling1D": "mean", "GlobalMaxPooling1D": "max"}


def load_keras(
    path: str | os.PathLike[str], *, config: str | os.PathLike[str] | None = None
) -> tuple[Layer | Model, Params]:
    """A layer or a model, and its parameters, from a file of a Keras model.

    A Sequential or Functional model that is one chain: of SimpleRNN, GRU, LSTM and Bidirectional
    layers as `from_keras` takes them, with Embedding, Dense and TimeDistributed(Dense) below,
    between and above, Dropout and SpatialDropout1D. A Dense at the top is a read-out: of an
    Embedding and as many outputs, the model is a ``language_model``; where the last recurrent layer
    returns no sequences, or a GlobalAveragePooling1D or GlobalMaxPooling1D stands above, a
    ``sequence_classifier``; else a ``sequence_tagger``. Its softmax or sigmoid is left off: models
    here give logits.

    What ``Masking`` and ``mask_zero=True`` compute is handed in here: ``mask=ids != 0``, or
    ``mask=(xs != value).any(-1)``. Sequences are time-major here. Of a layer with
    ``go_backwards=True`` and ``return_sequences=True``, the outputs stay in their places here, and
    Keras returns them in reversed order; below another recurrent layer it is refused.

    Args:
      path: a ``.keras`` file, or a ``.weights.h5`` file and its ``config``. Needs
        ``pip install 'rnn-jax-functional[keras]'``.
      config: a file with the text of ``model.to_json()``, which a ``.weights.h5`` file lacks.

    Returns:
      ``(layer, params)``, or ``(model, params)``.

    Raises:
      ValueError: the file is another one, or has a layer, an activation or an option with no
        counterpart here, which is named.

    Example:
      >>> import json, pathlib, tempfile, h5py, numpy as np, jax.numpy as jnp
      >>> folder = pathlib.Path(tempfile.mkdtemp())
      >>> with h5py.File(folder / "a.weights.h5", "w") as file:  # as model.save_weights does
      ...     for i, shape in enumerate([(2, 3), (3, 3), (3,)]):
      ...         file[f"layers/simple_rnn/cell/vars/{i}"] = np.zeros(shape)
      >>> options = {"name": "a", "activation": "relu", "go_backwards": False,
      ...     "return_sequences": True}
      >>> layers = [{"class_name": "SimpleRNN", "config": options}]
      >>> config = {"class_name": "Sequential", "config": {"layers": layers}}
      >>> _ = (folder / "a.json").write_text(json.dumps(config))  # what model.to_json() gives
      >>> layer, params = load_keras(folder / "a.weights.h5", config=folder / "a.json")
      >>> layer.apply(params, None, jnp.ones((7, 4, 2)))[1].shape
      (7, 4, 3)
    """
    name = os.fspath(path)
    try:
        layers, stream = opened(path, config)
    except (RuntimeError, zlib.error) as error:  # encrypted, or damaged
        raise ValueError(f"{name} is not a .keras file: {error}") from None
    try:
        import h5py
    except ImportError:
        raise ValueError(
            "load_keras needs the library h5py: pip install 'rnn-jax-functional[keras]'"
        ) from None
    try:
        with h5py.File(stream, "r") as file:
            return _model(layers, _Variables(file))
    except OSError as error:
        raise ValueError(f"{name} holds no weights of a Keras model: {error}") from None
    except KeyError as error:
        raise ValueError(f"{name} cannot be read: its config lacks {error}") from None
    except ValueError as error:
        raise ValueError(f"{name} cannot be read as a layer or a model: {error}") from None
    except (AttributeError, IndexError, OverflowError, RuntimeError, TypeError) as error:
        raise ValueError(f"{name} is not as Keras writes it: {error}") from None


class _Variables:
    """The variables of each layer, by the layer's name."""

    def __init__(self, file: Any) -> None:
        layers = _member(file, "layers") if "layers" in file else {}
        self._groups = {name: _member(layers, name) for name in layers}
        self._seen, self._named = dict[str, int](), dict[str, Any]()
        for group in self._groups.values():
            if "vars" in group and "name" in (own := _member(group, "vars").attrs):
                self._named[str(own["name"])] = group

    def of(self, layer: Any) -> Any:
        """Its group; by the class and its number, where the file is of before there were names."""
        kind, name = layer["class_name"], layer["config"]["name"]
        snake = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", re.sub(r"\W", "", kind))
        snake = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", snake).lower()
        number = self._seen[snake] = self._seen.get(snake, -1) + 1
        group = self._named.get(name)
        if group is None and not self._named:
            group = self._groups.get(f"{snake}_{number}" if number else snake)
        if group is None:
            raise ValueError(f"there are no weights of its layer {name!r}")
        return group


def _member(group: Any, name: str) -> Any:
    """What a group holds itself: by a link, or a dataset's parts, any other file could be read."""
    import h5py

    link = group.get(name, getlink=True)
    if link is None:
        raise ValueError(f"its group {group.name} of weights lacks {name!r}")
    node = group[name] if isinstance(link, h5py.HardLink) else None
    stored = isinstance(node, h5py.Dataset) and node.external is None and not node.is_virtual
    if not stored and not isinstance(node, h5py.Group):
        raise ValueError(
            f"in its group {group.name} of weights, {name!r} is a link or lies in another file: "
            "only what the file itself holds is read"
        )
    return node


def _arrays(group: Any, *path: str) -> list[Weights]:
    """The variables under a path, in their order."""
    for part in (*path, "vars"):
        group = _member(group, part)
    return [_numbers(_member(group, str(i))) for i in range(len(group))]


def _numbers(variable: Any) -> Weights:
    array = np.asarray(variable)
    if array.dtype.kind not in "fiu":
        raise ValueError(f"its {variable.name} is of dtype {array.dtype}: save it in float32")
    return array


def _model(layers: list[Any], variables: _Variables) -> tuple[Layer | Model, Params]:
    parts: list[Part] = []
    width, ids, masked, turned = 0, False, False, ""
    for layer in layers:
        kind, config = layer["class_name"], layer["config"]
        group = variables.of(layer) if kind in _WITH_WEIGHTS else None
        name, module = config["name"], str(layer.get("module", "keras"))
        if not module.startswith("keras"):
            raise ValueError(f"its layer {name!r} is of a class of your own, {kind}")
        if _pooled(parts) and kind not in ("Dense", "Dropout", "Activation"):
            raise ValueError(f"its layer {name!r} reads what has been pooled over all steps")
        if turned and kind in (*_RECURRENT, "Bidirectional"):
            raise ValueError(
                f"its layer {turned!r} runs backwards and hands its outputs on in reversed order, "
                f"in which no layer here reads them, as {name!r} does"
            )
        if kind in _RECURRENT and config["go_backwards"] and config["return_sequences"]:
            turned = name
        masked = masked or kind == "Masking" or bool(config.get("mask_zero"))
        new = _parts(kind, config, group, masked)
        if new and not width:
            width, ids = _reads(new[0]), kind == "Embedding"
        parts += new
    if not any(part.layer is not None for part in parts):
        raise ValueError("it has no layers that are read here")
    return joined(parts, width, ids=ids)


def _pooled(parts: list[Part]) -> bool:
    return any(part.pooling in ("last", "mean", "max") for part in parts)


def _reads(part: Part) -> int:
    """The number of features, or ids, that the lowest layer reads."""
    params = part.params
    for name in ("forward", "embedding", "w_ih", "w"):
        if name in params:
            leaf = params[name]
            return int(leaf["w_ih"].shape[0]) if name == "forward" else int(leaf.shape[0])
    return 0


def _parts(kind: str, config: Mapping[str, Any], group: Any, masked: bool) -> list[Part]:
    """What one layer of Keras is here."""
    name = config["name"]
    if kind in _PASSED_OVER:
        return []
    if kind in (*_RECURRENT, "Bidirectional"):
        return _recurrent(kind, config, group)
    if kind == "TimeDistributed" and config["layer"]["class_name"] == "Dense":
        return _dense(config["layer"]["config"], _arrays(group, "layer"))
    if kind == "Dense":
        return _dense(config, _arrays(group))
    if kind == "Embedding":
        (table,) = _only(_arrays(group), 1, name)
        return [Part(embedding(table.shape[1]), {"embedding": owned(table)})]
    if kind in ("Dropout", "SpatialDropout1D"):
        rate, variational = config["rate"], kind != "Dropout"
        return [Part(dropout(rate, variational=variational), {})] if rate else []
    if kind == "Activation" and config["activation"] in ("linear", "softmax", "sigmoid"):
        return [] if config["activation"] == "linear" else [Part(None, {}, "softmax")]
    if kind in _POOLING:
        if masked and _POOLING[kind] == "max":
            raise ValueError(
                f"its layer {name!r} takes masked steps as steps, and no layer here does"
            )
        if config.get("data_format", "channels_last") != "channels_last" or config.get("keepdims"):
            raise ValueError(
                f"its layer {name!r} pools over something else than steps, or keeps the axis: only "
                "data_format='channels_last' and keepdims=False are read"
            )
        return [Part(None, {}, _POOLING[kind])]
    raise ValueError(f"its layer {name!r} is a {kind}, which has no counterpart here")


def _only(arrays: list[Weights], count: int, name: str) -> list[Weights]:
    if len(arrays) != count:
        raise ValueError(f"its layer {name!r} has {len(arrays)} variables, not {count}")
    return arrays


def _dense(config: Mapping[str, Any], arrays: list[Weights]) -> list[Part]:
    name, activation, bias = config["name"], config["activation"], config["use_bias"]
    if activation not in ("linear", "softmax", "sigmoid"):
        raise ValueError(
            f"its layer {name!r} is a Dense with activation {activation!r}, which no layer here has"
        )
    w, *b = _only(arrays, 1 + bool(bias), name)
    params = {"w": owned(w), **({"b": owned(b[0])} if b else {})}
    part = Part(linear(w.shape[1], bias=bool(b)), params)
    return [part] if activation == "linear" else [part, Part(None, {}, "softmax")]


def _recurrent(kind: str, config: Mapping[str, Any], group: Any) -> list[Part]:
    name = config["name"]
    inner = config["layer"]["config"] if kind == "Bidirectional" else config
    if inner.get("return_state"):
        raise ValueError(f"its layer {name!r} returns its state, too: that is not read")
    if kind != "Bidirectional":
        layer, params = keras_direction(_layer(kind, config), _arrays(group, "cell"))
    else:
        forward = config["layer"]
        backward = config.get("backward_layer") or {
            **forward,
            "config": {**inner, "go_backwards": not inner["go_backwards"]},
        }
        halves = []
        for side, which in ((forward, "forward_layer"), (backward, "backward_layer")):
            if side["class_name"] not in _RECURRENT:
                raise ValueError(
                    f"its layer {name!r} is a Bidirectional of a {side['class_name']}, which has "
                    "no counterpart here"
                )
            own = _layer(side["class_name"], side["config"])
            halves.append(keras_direction(own, _arrays(group, which, "cell")))
        merge = config["merge_mode"]
        if merge not in ("concat", "sum") or inner["go_backwards"]:
            raise ValueError(
                f"its layer {name!r} is a Bidirectional with merge_mode {merge!r}, and only "
                "'concat' and 'sum', with a first layer that runs forwards, are read"
            )
        layer = bidirectional(halves[0][0], halves[1][0], merge=merge)
        params = {"forward": halves[0][1], "backward": halves[1][1]}
    last = [] if inner["return_sequences"] else [Part(None, {}, "last")]
    return [Part(layer, params), *last]


def _layer(kind: str, config: Mapping[str, Any]) -> KerasLayer:
    return KerasLayer(
        kind,
        config["activation"],
        config.get("recurrent_activation"),
        config["go_backwards"],
        config.get("reset_after", False),
    )
