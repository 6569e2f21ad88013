"""Whole PyTorch models from their state dicts: embedding, recurrent part, linear read-out."""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, Literal, cast

import numpy as np

from rnn_jax.interop.pytorch import from_torch
from rnn_jax.interop.pytorch_modules import as_array
from rnn_jax.interop.torch_files import tensors_of
from rnn_jax.interop.weights import Weights, owned
from rnn_jax.layers.dropout import dropout
from rnn_jax.layers.embedding import embedding
from rnn_jax.layers.serial import Serial, serial
from rnn_jax.models.language_model import language_model
from rnn_jax.models.sequence_classifier import sequence_classifier
from rnn_jax.models.sequence_tagger import sequence_tagger
from rnn_jax.types import Layer, Model, Params

__all__ = ["TorchModel", "from_torch_model", "load_torch_model"]

TorchModel = Literal["language_model", "sequence_classifier", "sequence_tagger"]

# What a matrix alone is called, where its shape would do for both.
_EMBEDDINGS = {"embedding", "embeddings", "embed", "emb", "encoder", "wte", "word_embeddings"}
_READ_OUTS = {"decoder", "fc", "linear", "out", "output", "head", "lm_head", "classifier", "proj"}
_HIDDEN = re.compile(r"(^|\.)weight_hh(_l0)?(_raw)?$")
_KINDS = {4: "lstm", 3: "gru", 1: "rnn"}


def from_torch_model(
    source: Any,
    *,
    model: TorchModel | None = None,
    nonlinearity: Literal["tanh", "relu"] = "tanh",
    dropout_rate: float = 0.0,
) -> tuple[Model, Params]:
    """A model and its parameters from a PyTorch model: embedding, recurrent part, read-out.

    The modules are told by the names and shapes of their weights, under any prefix (``model.``,
    ``module.``, ``0.``): one ``nn.LSTM``, ``nn.GRU``, ``nn.RNN`` or cell, or a numbered list of
    these (``rnns.0``, ``rnns.1``); below it an ``nn.Embedding``, or none; above it an
    ``nn.Linear``. LSTM, GRU and RNN are told by the 4, 3 and 1 gates of their matrices. Of a
    weight that is dropped (``weight_hh_l0_raw``, as in AWD-LSTM), the raw one is taken.

    A state dict does not say what happens between modules: whether an RNN is of tanh or relu, and
    what of the outputs is read. This is what the options are for. Dropout, and activations between
    the modules, leave no trace in it.

    Args:
      source: a state dict, with tensors or arrays; a checkpoint that holds one under some name
        ("state_dict", "model"); or the module itself.
      model: "language_model", which reads ids; "sequence_classifier", which reads the last output;
        or "sequence_tagger", which reads every output. By default "language_model" where it runs
        forwards only and there is an embedding of as many ids as the read-out has outputs.
      nonlinearity: of an ``nn.RNN`` or ``nn.RNNCell``, "tanh" or "relu".
      dropout_rate: the rate between the layers of the recurrent part.

    Returns:
      ``(model, params)``. Where read-out and embedding are the same numbers, the model is tied.

    Raises:
      ValueError: a module of another kind, or more than one of a kind; a matrix that could be
        embedding or read-out and has no usual name; a ``model`` that must be given.

    Example:
      >>> import numpy as np
      >>> shapes = {"model.embedding.weight": (9, 3), "model.rnn.weight_ih_l0": (12, 3),
      ...     "model.rnn.weight_hh_l0": (12, 4), "model.fc.weight": (9, 4), "model.fc.bias": (9,)}
      >>> model, params = from_torch_model({n: np.ones(s) for n, s in shapes.items()})
      >>> model.vocab_size, model.embedding_size, type(model.layer.cell).__name__
      (9, 3, 'GRUAfter')

    Reference:
      Merity, Keskar and Socher, Regularizing and optimizing LSTM language models, ICLR 2018.
    """
    if hasattr(source, "state_dict"):
        source = source.state_dict()
    return _model(source, model, nonlinearity, dropout_rate)


def _model(
    source: Any, model: TorchModel | None, nonlinearity: str, dropout_rate: float
) -> tuple[Model, Params]:
    """As `from_torch_model`, of a state dict or a checkpoint."""
    modules = _modules(_state_dict(source))
    recurrent = {p: w for p, w in modules.items() if {"weight_hh_l0", "weight_hh"} & w.keys()}
    layer, params, features, outputs = _recurrent_part(recurrent, nonlinearity, dropout_rate)
    others = {path: weights for path, weights in modules.items() if path not in recurrent}
    table, readout = _ends(others, features, outputs)
    vocab, size = (0 if table is None else len(table)), len(readout["weight"])
    if model is None:
        if size != vocab or not layer.causal:
            below = "no embedding" if table is None else f"an embedding of {vocab} ids"
            both = "" if layer.causal else ", and runs in both directions"
            raise ValueError(
                f"the state dict has {below} and a read-out of {size} outputs{both}: say what it "
                "is by model='language_model', 'sequence_classifier' or 'sequence_tagger'"
            )
        model = "language_model"
    own = {"w": owned(readout["weight"].T)}
    if "bias" in readout:
        own["b"] = owned(readout["bias"])
    if model == "language_model":
        return _language_model(layer, params, table, own, features)
    if model not in ("sequence_classifier", "sequence_tagger"):
        raise ValueError(
            "model must be 'language_model', 'sequence_classifier' or 'sequence_tagger', not "
            f"{model!r}"
        )
    if table is not None:
        layer = serial(embedding(features), layer)
        params = {"0": {"embedding": owned(table)}, "1": params}
    factory = sequence_classifier if model == "sequence_classifier" else sequence_tagger
    made = factory(size, layer, input_size=vocab or features, bias="b" in own)
    return cast(Model, made), {"layer": params, "readout": own}


def load_torch_model(
    path: str | os.PathLike[str],
    *,
    model: TorchModel | None = None,
    nonlinearity: Literal["tanh", "relu"] = "tanh",
    dropout_rate: float = 0.0,
) -> tuple[Model, Params]:
    """As `from_torch_model`, from a ``.pt`` or safetensors file, without torch.

    Of a ``.pt`` file only tensors and Python's containers and numbers are read, and nothing in it
    is run; what else it names is refused.

    Raises:
      ValueError: the file cannot be read, or holds another model.
    """
    return _model(tensors_of(path), model, nonlinearity, dropout_rate)


def _state_dict(source: Any) -> dict[str, Weights]:
    """The one state dict in a checkpoint, as arrays by name."""
    found = dict(_state_dicts(source))
    if len(found) != 1:
        several = " and ".join(repr(name) for name in found)
        raise ValueError(
            f"the checkpoint holds several state dicts, {several}: pass one of them"
            if found
            else "no state dict of a model with a recurrent module, whose weights are called "
            "weight_hh_l0 or weight_hh, is in it: pass model.state_dict()"
        )
    (tensors,) = found.values()
    for name, tensor in tensors.items():
        if not isinstance(name, str) or not hasattr(tensor, "shape"):
            which = name if isinstance(name, str) else f"entry named by a {type(name).__name__}"
            raise ValueError(f"the state dict's {which} is no tensor: leave it out")
    return {name: as_array(tensor) for name, tensor in tensors.items()}


def _state_dicts(source: Any) -> Iterator[tuple[str, Mapping[Any, Any]]]:
    """Those in nested dicts, each with its name, and once, even where a dict contains itself."""
    nodes, seen = deque([("", source)]), set[int]()
    while nodes:
        name, node = nodes.popleft()
        if not isinstance(node, Mapping) or id(node) in seen:
            continue
        seen.add(id(node))
        if any(isinstance(key, str) and _HIDDEN.search(key) for key in node):
            yield name, node
        else:
            named = [(key, part) for key, part in node.items() if isinstance(key, str | int)]
            nodes.extend((f"{name}.{key}" if name else str(key), part) for key, part in named)


def _modules(tensors: Mapping[str, Weights]) -> dict[str, dict[str, Weights]]:
    """The weights of each module, by its path; what only wraps a module is left out of it."""
    modules: dict[str, dict[str, Weights]] = {}
    raw = [name for name in tensors if name.endswith("_raw")]
    for name in (*(n for n in tensors if n not in raw), *raw):  # raw ones take the dropped's place
        *path, leaf = (part for part in name.split(".") if part != "module")
        modules.setdefault(".".join(path), {})[leaf.removesuffix("_raw")] = tensors[name]
    return modules


def _recurrent_part(
    modules: Mapping[str, dict[str, Weights]], nonlinearity: str, dropout_rate: float
) -> tuple[Layer, Params, int, int]:
    """The layer, its parameters, and the sizes of its inputs and outputs."""
    numbered = {path: re.fullmatch(r"(.*\.)?(\d+)", path) for path in modules}
    numbers = sorted(int(match[2]) for match in numbered.values() if match)
    lists = {match[1] if match else path for path, match in numbered.items()}
    if len(lists) > 1 or any(above != below + 1 for below, above in pairwise(numbers)):
        raise ValueError(
            f"the state dict has the recurrent modules {', '.join(modules)}, and does not say how "
            "they are joined: convert each by from_torch"
        )
    if nonlinearity not in ("tanh", "relu"):
        raise ValueError(f"nonlinearity must be 'tanh' or 'relu', not {nonlinearity!r}")
    stack: list[Layer] = []
    parts: list[Params] = []
    features = 0
    for path in sorted(modules, key=lambda path: int(m[2]) if (m := numbered[path]) else 0):
        weights = modules[path]
        end = "_l0" if "weight_hh_l0" in weights else ""
        rows, columns = weights[f"weight_hh{end}"].shape
        kind = "lstm" if "weight_hr_l0" in weights else _KINDS.get(rows // max(columns, 1))
        if kind is None:
            raise ValueError(
                f"{path}.weight_hh{end} is of shape {rows, columns}: an LSTM, GRU or RNN has 4, 3 "
                "or 1 times as many rows as columns"
            )
        kind = f"rnn_{nonlinearity}" if kind == "rnn" else kind
        try:
            layer, params = from_torch(weights, kind=kind, dropout_rate=dropout_rate)
        except ValueError as error:
            raise ValueError(f"in {path or 'the state dict'}, {error}") from None
        size = weights[f"weight_ih{end}"].shape[1]
        if stack and size != stack[-1].output_size:
            raise ValueError(
                f"{path} reads {size} features, but the module before it gives "
                f"{stack[-1].output_size}: convert each by from_torch"
            )
        features = features or size
        if stack and dropout_rate:
            stack, parts = [*stack, dropout(dropout_rate)], [*parts, {}]
        inner = layer.layers if isinstance(layer, Serial) else (layer,)
        own = [params[str(i)] for i in range(len(inner))] if len(inner) > 1 else [params]
        stack, parts = [*stack, *inner], [*parts, *own]
    outputs = stack[-1].output_size
    assert outputs is not None
    if len(stack) == 1:
        return stack[0], parts[0], features, outputs
    return serial(*stack), {str(i): part for i, part in enumerate(parts)}, features, outputs


def _ends(
    modules: Mapping[str, dict[str, Weights]], features: int, outputs: int
) -> tuple[Weights | None, dict[str, Weights]]:
    """The embedding's table or None, and the read-out's weights."""
    tables, readouts = dict[str, Weights](), dict[str, dict[str, Weights]]()
    for path, weights in modules.items():
        if not weights.keys() <= {"weight", "bias"} or np.ndim(weights.get("weight", 0)) != 2:
            raise ValueError(
                f"the state dict has {path} ({', '.join(weights)}), which is neither a recurrent "
                "module nor an embedding or a linear map: convert the recurrent module by "
                "from_torch, and the rest by hand"
            )
        size, name = weights["weight"].shape[1], path.rpartition(".")[2]
        below, above = size == features and "bias" not in weights, size == outputs
        if below and above:
            below, above = name in _EMBEDDINGS, name in _READ_OUTS
        if below == above:
            raise ValueError(
                f"{path}.weight, of {size} columns, "
                + (
                    "could be an embedding or a read-out: call it embedding or decoder"
                    if size in (features, outputs)
                    else f"fits neither the {features} features that the recurrent module reads "
                    f"nor the {outputs} that it gives"
                )
            )
        if above:
            readouts[path] = weights
        elif not any(np.array_equal(weights["weight"], table) for table in tables.values()):
            tables[path] = weights["weight"]
    for what, found in (("embeddings", tables), ("read-outs", readouts)):
        if len(found) > 1:
            raise ValueError(
                f"the state dict has the {what} {', '.join(found)}, and does not say what happens "
                "between them: convert the recurrent module by from_torch"
            )
    if not readouts:
        raise ValueError(
            "the state dict has no linear read-out: convert the recurrent module by from_torch"
        )
    return next(iter(tables.values()), None), next(iter(readouts.values()))


def _language_model(
    layer: Layer, params: Params, table: Weights | None, own: Params, features: int
) -> tuple[Model, Params]:
    size = own["w"].shape[1]
    vocab = features if table is None else len(table)
    if size != vocab:
        raise ValueError(
            f"a language model has as many outputs as ids, but this one reads {vocab} and has "
            f"{size} outputs: pass another model="
        )
    if table is None:
        model = language_model(vocab, layer, bias="b" in own)
        return model, {"layer": params, "readout": own}
    tied = own["w"].shape == table.T.shape and np.array_equal(np.asarray(own["w"]), table.T)
    if tied:
        del own["w"]
    model = language_model(vocab, layer, embedding_size=table.shape[1], bias="b" in own, tied=tied)
    found = {"embedding": owned(table), "layer": params}
    return model, {**found, "readout": own} if own else found
