"""Weights from and to PyTorch's recurrent modules and cells, without importing torch."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnn_jax.cells.elman import Elman
from rnn_jax.cells.gru import GRUAfter
from rnn_jax.cells.lstm import LSTM
from rnn_jax.cells.lstm_projected import ProjectedLSTM
from rnn_jax.interop.pytorch_modules import MODES, NAMES, kind_of, state_dict_of, structure
from rnn_jax.interop.tensors import save_params
from rnn_jax.interop.torch_files import tensors_of
from rnn_jax.interop.weights import Weights, bare, directions, owned, plain_weights
from rnn_jax.layers.bidirectional import Bidirectional, bidirectional
from rnn_jax.layers.dropout import Dropout, dropout
from rnn_jax.layers.recurrent import recurrent
from rnn_jax.layers.serial import Serial, serial
from rnn_jax.types import Cell, Layer, Params

__all__ = ["from_torch", "load_torch", "save_torch", "to_torch"]


def from_torch(
    source: Any, *, kind: str | None = None, dropout_rate: float | None = None
) -> tuple[Layer, Params]:
    """A layer and its parameters from a recurrent PyTorch module.

    The number of layers, directions, sizes, biases and projection are read off the weights. Both
    biases are kept, ``bias_ih`` as ``b`` and ``bias_hh`` as ``b_hh``: merged into one, they would
    train at half the speed. Sequences are time-major here, whatever ``batch_first`` was.

    Args:
      source: an ``nn.RNN``, ``nn.GRU`` or ``nn.LSTM``, an ``nn.RNNCell``, ``nn.GRUCell`` or
        ``nn.LSTMCell``, or the state dict of one, with tensors or NumPy arrays as its values.
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
        kind = kind_of(module, kind)
    if kind not in MODES:
        raise ValueError(
            "from_torch takes an nn.RNN, nn.GRU or nn.LSTM, a cell of these, or a state dict with "
            f"kind= one of {', '.join(MODES)}, not kind={kind!r}"
        )
    if module is not None:
        source = module.state_dict()
        if dropout_rate is None:
            dropout_rate = getattr(module, "dropout", 0.0)  # a cell has none
    weights = state_dict_of(source)
    cell, depth, suffixes = structure(kind, weights)
    layer: Layer = recurrent(cell)
    if len(suffixes) == 2:
        layer = bidirectional(recurrent(cell), recurrent(cell, reverse=True))

    def params(index: int) -> Params:
        ends = [f"_l{index}{suffix}" for suffix in suffixes]
        both = [
            {
                ours: owned(weights[theirs + end].T)
                for ours, theirs in NAMES.items()
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


def to_torch(layer: Layer | Cell, params: Params) -> dict[str, np.ndarray]:
    """The state dict, as NumPy arrays, of the PyTorch module that computes what a layer does.

    With ``arrays = to_torch(layer, params)``, PyTorch loads it by
    ``module.load_state_dict({name: torch.from_numpy(a) for name, a in arrays.items()})``.
    If only some layers have biases, the others' become zero; a forget bias is added to ``bias_ih``.

    Args:
      layer: ``recurrent(cell)``, ``bidirectional`` of two, or a ``serial`` of these and of dropout
        (which has no weights). The cell is elman with tanh or relu, gru (reset after) or lstm, the
        same in all layers. `truncate` and `remat` around them change no weight. A bare cell gives
        the state dict of ``nn.RNNCell``, ``nn.GRUCell`` or ``nn.LSTMCell``.
      params: its parameters.

    Returns:
      ``weight_ih_l0 [G·H, D]``, ``weight_hh_l0 [G·H, H]``, ``bias_ih_l0``, ``bias_hh_l0 [G·H]``,
      ``weight_hr_l0 [P, H]`` and so on, with the suffix ``_reverse`` for the backward direction;
      ``weight_ih``, ``weight_hh``, ``bias_ih``, ``bias_hh`` for a cell.

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
    if isinstance(layer, Cell) and not isinstance(layer, Layer):
        if isinstance(layer, ProjectedLSTM):
            raise ValueError("PyTorch's LSTMCell has no projection: pass recurrent(cell)")
        arrays = to_torch(recurrent(layer), params)
        return {name.removesuffix("_l0"): array for name, array in arrays.items()}
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
        for ours, theirs in NAMES.items()
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
    """A layer and its parameters from a file of a module's state dict; see `from_torch`.

    The file is a safetensors file, or a ``.pt`` file, which is read without torch: only tensors and
    Python's containers and numbers, and nothing in it is run.

    Raises:
      ValueError: the file cannot be read, or does not hold the weights of one such module.
    """
    tensors = tensors_of(path)
    named = isinstance(tensors, Mapping) and all(isinstance(name, str) for name in tensors)
    if not named or not all(hasattr(tensor, "shape") for tensor in tensors.values()):
        raise ValueError(
            f"{os.fspath(path)} does not hold the state dict of one module, tensors by name: save "
            "module.state_dict(), or read a whole model by load_torch_model"
        )
    return from_torch(tensors, kind=kind, dropout_rate=dropout_rate)


def _members(layer: Layer, params: Params) -> Iterator[tuple[Layer, Params]]:
    """The layers that have weights, from the bottom up."""
    layer = bare(layer)
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
