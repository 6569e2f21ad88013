"""What PyTorch calls its recurrent modules and their weights, and how a state dict is read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnn_jax.cells.elman import elman
from rnn_jax.cells.gru import gru
from rnn_jax.cells.lstm import lstm
from rnn_jax.interop.weights import Weights
from rnn_jax.types import Cell

__all__ = ["MODES", "NAMES", "as_array", "kind_of", "state_dict_of", "structure"]

# By PyTorch's mode: gates and factory. Its gates are in our order: i, f, g, o and r, z, n.
MODES: dict[str, tuple[int, Callable[..., Cell]]] = {
    "rnn_tanh": (1, elman),
    "rnn_relu": (1, partial(elman, activation=jax.nn.relu)),
    "gru": (3, gru),
    "lstm": (4, lstm),
}

# Our names and PyTorch's; every matrix there is the transpose of ours.
NAMES = {
    "w_ih": "weight_ih",
    "w_hh": "weight_hh",
    "b": "bias_ih",
    "b_hh": "bias_hh",
    "w_hr": "weight_hr",
}


def kind_of(module: Any, asked: str | None) -> str:
    """The mode of a module or cell.

    Raises:
      ValueError: ``asked`` is another.
    """
    name = type(module).__name__.removesuffix("Cell")
    if name == "RNN":  # an RNNCell; nn.RNN has a mode
        name = f"rnn_{getattr(module, 'nonlinearity', None)}"
    mode = str(getattr(module, "mode", name)).lower()
    if asked not in (None, mode):
        raise ValueError(f"the module is of kind {mode!r}, not {asked!r}: leave kind out")
    return mode


def state_dict_of(source: Mapping[str, Any]) -> dict[str, Weights]:
    """The arrays by the names that a module of one layer has; a cell's lack the ``_l0``.

    Raises:
      ValueError: there is no ``weight_ih_l0`` or ``weight_hh_l0``, or it is not a matrix.
    """
    weights = {str(name): as_array(tensor) for name, tensor in source.items()}
    if {"weight_ih", "weight_hh"} <= weights.keys():
        weights = {f"{name}_l0": array for name, array in weights.items()}
    needed = "weight_ih_l0", "weight_hh_l0"
    if any(name not in weights for name in needed):
        raise ValueError(
            "the state dict of a recurrent module holds weight_ih_l0 and weight_hh_l0 (that of a "
            "cell, weight_ih and weight_hh), but this one has "
            f"{', '.join(weights) or 'nothing'}: {_remedy(weights)}"
        )
    for name in needed:
        if weights[name].ndim != 2:
            raise ValueError(
                f"{name} should be a matrix, but has shape {weights[name].shape}: pass the state "
                "dict of the module as it is"
            )
    return weights


def _remedy(names: Iterable[str]) -> str:
    """What would make one state dict of a recurrent module out of one with these names."""
    prefixes = {
        match[1] for name in names if (match := re.fullmatch(r"(.+\.)weight_[ih]h(_l0)?", name))
    }
    if prefixes:
        prefix = min(prefixes)
        return (
            f"keep the names with the prefix {prefix!r} and take it off, as in {{name.removeprefix("
            f"{prefix!r}): w for name, w in state_dict.items() if name.startswith({prefix!r})}}"
        )
    changed = [name for name in names if "parametrizations" in name or name.endswith("_raw")]
    if changed:
        return (
            f"put the plain weight in the place of {changed[0]} (for a parametrized module, "
            "torch.nn.utils.parametrize.remove_parametrizations does)"
        )
    return "pass the module's own state dict, with names without a prefix"


def as_array(tensor: Any) -> Weights:
    """A tensor of torch, or an array, as a NumPy array."""
    if not hasattr(tensor, "detach"):
        return np.asarray(tensor)
    tensor = tensor.detach().cpu()
    if str(tensor.dtype) == "torch.bfloat16":  # NumPy has this dtype only through JAX
        return np.asarray(tensor.float()).astype(jnp.bfloat16)
    return np.asarray(tensor)


def structure(kind: str, weights: Mapping[str, Weights]) -> tuple[Cell, int, tuple[str, ...]]:
    """The cell, the number of layers and the directions' suffixes, once all shapes are checked."""
    gates, factory = MODES[kind]
    rows, features = weights["weight_hh_l0"].shape[0], weights["weight_ih_l0"].shape[1]
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
