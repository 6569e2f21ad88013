"""Weights from and to PyTorch's ``nn.RNN``, ``nn.GRU`` and ``nn.LSTM``, without importing torch."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnn_jax.cells.elman import Elman, elman
from rnn_jax.cells.gru import GRUAfter, gru
from rnn_jax.cells.lstm import LSTM, lstm
from rnn_jax.cells.lstm_projected import ProjectedLSTM
from rnn_jax.interop.tensors import load_params, save_params
from rnn_jax.interop.weights import Weights, directions, owned, plain_weights
from rnn_jax.layers.bidirectional import Bidirectional, bidirectional
from rnn_jax.layers.dropout import Dropout, dropout
from rnn_jax.layers.recurrent import recurrent
from rnn_jax.layers.serial import Serial, serial
from rnn_jax.types import Cell, Layer, Params

__all__ = ["from_torch", "load_torch", "save_torch", "to_torch"]

# By PyTorch's mode: gates and factory. Its gates are in our order: i, f, g, o and r, z, n.
_MODES: dict[str, tuple[int, Callable[..., Cell]]] = {
    "rnn_tanh": (1, elman),
    "rnn_relu": (1, partial(elman, activation=jax.nn.relu)),
    "gru": (3, gru),
    "lstm": (4, lstm),
}

# Our names and PyTorch's; every matrix there is the transpose of ours.
_NAMES = {
    "w_ih": "weight_ih",
    "w_hh": "weight_hh",
    "b": "bias_ih",
    "b_hh": "bias_hh",
    "w_hr": "weight_hr",
}


def from_torch(
    source: Any, *, kind: str | None = None, dropout_rate: float | None = None
) -> tuple[Layer, Params]:
    """A layer and its parameters from a recurrent PyTorch module.

    The number of layers, directions, sizes, biases and projection are read off the weights. Both
    biases are kept, ``bias_ih`` as ``b`` and ``bias_hh`` as ``b_hh``: merged into one, they would
    train at half the speed. Sequences are time-major here, whatever ``batch_first`` was.

    Args:
      source: an ``nn.RNN``, ``nn.GRU`` or ``nn.LSTM``, or the state dict of one, with tensors or
        NumPy arrays as its values.
      kind: the kind of module that a state dict comes from: "rnn_tanh", "rnn_relu", "gru" or
        "lstm".
      dropout_rate: the rate between the layers; by default the module's, and 0 for a state dict.

    Returns:
      ``recurrent(cell)``, or ``bidirectional`` of two; for more than one layer, a ``serial`` of
      these with ``dropout`` in between. Its carry holds a state for each layer and direction, in
      PyTorch's order; that of an LSTM is ``(h, c)``. The dtype is that of the weights (float64
      becomes float32 unless JAX runs with x64).

    Raises:
      ValueError: ``source`` is something else, or its weights do not fit together.

    Example:
      >>> import jax, rnn_jax
      >>> deep = rnn_jax.serial(*[rnn_jax.recurrent(rnn_jax.gru(3)) for _ in range(2)])
      >>> state_dict = to_torch(deep, deep.init(jax.random.key(0), 5))
      >>> layer, params = from_torch(state_dict, kind="gru")
      >>> layer == deep
      True
      >>> carry, ys = layer.apply(params, layer.initial_carry((4,)), jax.numpy.ones((7, 4, 5)))
      >>> ys.shape
      (7, 4, 3)
    """
    module = None if isinstance(source, Mapping) else source
    if module is not None:
        mode = str(getattr(module, "mode", type(module).__name__)).lower()
        if kind not in (None, mode):
            raise ValueError(f"the module is of kind {mode!r}, not {kind!r}: leave kind out")
        kind = mode
    if kind not in _MODES:
        raise ValueError(
            "from_torch takes an nn.RNN, nn.GRU or nn.LSTM, or a state dict with kind= one of "
            f"{', '.join(_MODES)}, not kind={kind!r}"
        )
    if module is not None:
        source = module.state_dict()
        dropout_rate = module.dropout if dropout_rate is None else dropout_rate
    weights = {name: _numpy(tensor) for name, tensor in source.items()}
    cell, depth, suffixes = _structure(kind, weights)
    layer: Layer = recurrent(cell)
    if len(suffixes) == 2:
        layer = bidirectional(recurrent(cell), recurrent(cell, reverse=True))

    def params(index: int) -> Params:
        ends = [f"_l{index}{suffix}" for suffix in suffixes]
        both = [
            {
                ours: owned(weights[theirs + end].T)
                for ours, theirs in _NAMES.items()
                if theirs + end in weights
            }
            for end in ends
        ]
        return both[0] if len(both) == 1 else {"forward": both[0], "backward": both[1]}

    stack: list[Layer] = [layer]
    parts = [params(0)]
    for index in range(1, depth):
        if dropout_rate:
            stack, parts = [*stack, dropout(dropout_rate)], [*parts, {}]
        stack, parts = [*stack, layer], [*parts, params(index)]
    if len(stack) == 1:
        return layer, parts[0]
    return serial(*stack), {str(i): part for i, part in enumerate(parts)}


def to_torch(layer: Layer, params: Params) -> dict[str, np.ndarray]:
    """The state dict, as NumPy arrays, of the PyTorch module that computes what a layer does.

    With ``arrays = to_torch(layer, params)``, PyTorch loads it by
    ``module.load_state_dict({name: torch.from_numpy(a) for name, a in arrays.items()})``.
    If only some layers have biases, the others' become zero; a forget bias is added to ``bias_ih``.

    Args:
      layer: ``recurrent(cell)``, ``bidirectional`` of two, or a ``serial`` of these and of dropout
        (which has no weights). The cell is elman with tanh or relu, gru (reset after) or lstm, the
        same in all layers.
      params: its parameters.

    Returns:
      ``weight_ih_l0 [G·H, D]``, ``weight_hh_l0 [G·H, H]``, ``bias_ih_l0``, ``bias_hh_l0 [G·H]``,
      ``weight_hr_l0 [P, H]`` and so on, with the suffix ``_reverse`` for the backward direction.

    Raises:
      ValueError: PyTorch has no such module.

    Example:
      >>> import jax, rnn_jax
      >>> layer = rnn_jax.recurrent(rnn_jax.lstm(3))
      >>> for name, weights in to_torch(layer, layer.init(jax.random.key(0), 5)).items():
      ...     print(name, weights.shape)
      weight_ih_l0 (12, 5)
      weight_hh_l0 (12, 3)
      bias_ih_l0 (12,)
      bias_hh_l0 (12,)
    """
    by_suffix: dict[str, dict[str, Weights]] = {}
    forms = set()
    for index, (member, part) in enumerate(_members(layer, params)):
        both = directions(member, part)
        summed = isinstance(member, Bidirectional) and member.merge == "sum"
        if not both or both[0].reverse or summed:
            raise ValueError(
                "PyTorch's modules are stacks of recurrent(cell), or of bidirectional(recurrent("
                f"cell), recurrent(cell, reverse=True)) that concatenates, not of {member!r}"
            )
        for suffix, (cell, _, values) in zip(("", "_reverse"), both, strict=False):
            _check_cell(cell)
            weights = plain_weights(cell, values, "PyTorch")
            activation = cell.activation if isinstance(cell, Elman) else None
            forms.add((type(cell), activation, len(both), weights["w_hh"].shape))
            by_suffix[f"_l{index}{suffix}"] = weights
    if len(forms) != 1:
        raise ValueError(
            "the layers of one PyTorch module have the same cell, size and directions, but these "
            "do not: convert them one by one"
        )
    if any("b" in weights or "b_hh" in weights for weights in by_suffix.values()):
        for weights in by_suffix.values():
            zeros = np.zeros_like(weights["w_ih"][0])
            weights |= {name: weights.get(name, zeros) for name in ("b", "b_hh")}
    return {
        theirs + suffix: np.array(weights[ours].T, order="C")
        for suffix, weights in by_suffix.items()
        for ours, theirs in _NAMES.items()
        if ours in weights
    }


def save_torch(path: str | os.PathLike[str], layer: Layer, params: Params) -> None:
    """Write `to_torch`'s arrays to a safetensors file, whole or not at all.

    PyTorch reads it with ``module.load_state_dict(safetensors.torch.load_file(path))``.

    Raises:
      ValueError: PyTorch has no such module, or the file cannot be written.

    Example:
      >>> import tempfile, jax, rnn_jax
      >>> layer = rnn_jax.recurrent(rnn_jax.lstm(3))
      >>> file = tempfile.mkdtemp() + "/lstm.safetensors"
      >>> save_torch(file, layer, layer.init(jax.random.key(0), 5))
      >>> load_torch(file, kind="lstm")[1]["w_ih"].shape
      (5, 12)
    """
    save_params(path, to_torch(layer, params))


def load_torch(
    path: str | os.PathLike[str], *, kind: str, dropout_rate: float = 0.0
) -> tuple[Layer, Params]:
    """A layer and its parameters from a safetensors file with PyTorch's names; see `from_torch`.

    Raises:
      ValueError: the file cannot be read, or does not hold the weights of one such module.
    """
    return from_torch(load_params(path), kind=kind, dropout_rate=dropout_rate)


def _numpy(tensor: Any) -> Weights:
    if not hasattr(tensor, "detach"):
        return np.asarray(tensor)
    tensor = tensor.detach().cpu()
    if str(tensor.dtype) == "torch.bfloat16":  # NumPy has this dtype only through JAX
        return np.asarray(tensor.float()).astype(jnp.bfloat16)
    return np.asarray(tensor)


def _structure(kind: str, weights: Mapping[str, Weights]) -> tuple[Cell, int, tuple[str, ...]]:
    """The cell, the number of layers and the directions' suffixes, once all shapes are checked."""
    gates, factory = _MODES[kind]
    try:
        rows, features = weights["weight_hh_l0"].shape[0], weights["weight_ih_l0"].shape[1]
    except (KeyError, IndexError):
        raise ValueError(
            "the state dict of a recurrent module holds matrices weight_ih_l0 and weight_hh_l0, "
            f"but this one has {', '.join(map(str, weights)) or 'nothing'}: pass the module's own "
            "state dict, with names without a prefix"
        ) from None
    size, bias = rows // gates, "bias_ih_l0" in weights
    projected = kind == "lstm" and "weight_hr_l0" in weights
    output = len(weights["weight_hr_l0"]) if projected else size
    depth = sum(re.fullmatch(r"weight_ih_l\d+", name) is not None for name in weights)
    suffixes = ("", "_reverse") if "weight_ih_l0_reverse" in weights else ("",)
    expected: dict[str, tuple[int, ...]] = {}
    for index in range(depth):
        inputs = len(suffixes) * output if index else features
        for end in (f"_l{index}{suffix}" for suffix in suffixes):
            expected["weight_ih" + end] = (gates * size, inputs)
            expected["weight_hh" + end] = (gates * size, output)
            if bias:
                expected["bias_ih" + end] = expected["bias_hh" + end] = (gates * size,)
            if projected:
                expected["weight_hr" + end] = (output, size)
    for name in sorted(weights.keys() | expected.keys()):
        shape = weights[name].shape if name in weights else None
        if shape != expected.get(name):
            raise ValueError(
                f"these are not the weights of one PyTorch {kind}: {name} has shape {shape}, "
                f"but should have {expected.get(name)} (None means no such array)"
            )
    options = {"proj_size": output} if projected else {}
    return factory(size, bias=bias, recurrent_bias=bias, **options), depth, suffixes


def _members(layer: Layer, params: Params) -> Iterator[tuple[Layer, Params]]:
    """The layers that have weights, from the bottom up."""
    if isinstance(layer, Serial):
        for i, member in enumerate(layer.layers):
            yield from _members(member, params[str(i)])
    elif not isinstance(layer, Dropout):
        yield layer, params


def _check_cell(cell: Cell) -> None:
    # By exact class: a cell derived from one of these computes something else.
    simple = type(cell) is Elman and cell.activation in (jnp.tanh, jax.nn.relu)
    if not simple and type(cell) not in (GRUAfter, LSTM, ProjectedLSTM):
        raise ValueError(
            "PyTorch has modules for elman with tanh or relu, gru(reset='after') and lstm, but "
            f"not for {cell!r}"
        )
