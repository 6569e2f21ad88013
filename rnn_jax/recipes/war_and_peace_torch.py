"""The same training in PyTorch: same parameters, same batches."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterable
from typing import Any

import jax.numpy as jnp
import numpy as np

import rnn_jax
from rnn_jax.interop import from_torch, to_torch
from rnn_jax.recipes.war_and_peace_training import CLIP, RATE, RMS_DECAY, Epoch, learning_rate
from rnn_jax.types import Params

__all__ = ["import_torch", "train_in_torch"]


MODULES = {"tanh": "RNN", "gru": "GRU", "lstm": "LSTM"}


def train_in_torch(
    model: rnn_jax.LanguageModel, cell: str, params: Params, data: rnn_jax.Windows,
    validate: Callable[[Params], float], tell: Callable[[Epoch], None], *, steps: Iterable[int],
) -> Params:  # fmt: skip
    """Epochs of so many steps each, from the given parameters.

    Returns:
      Those of the lowest validation loss, the given ones included.

    Raises:
      ValueError: PyTorch is not installed.
    """
    torch = import_torch()
    arrays = to_torch(model.layer, params["layer"])
    depth = sum(name.startswith("weight_ih") for name in arrays)
    hidden_size = arrays["weight_hh_l0"].shape[1]
    module = getattr(torch.nn, MODULES[cell])(model.vocab_size, hidden_size, depth)
    readout = torch.nn.Linear(hidden_size, model.vocab_size)
    module.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    readout.load_state_dict(
        {
            "weight": torch.from_numpy(np.array(params["readout"]["w"].T)),
            "bias": torch.from_numpy(np.array(params["readout"]["b"])),
        }
    )
    weights = [*module.parameters(), *readout.parameters()]
    optimizer = torch.optim.RMSprop(weights, lr=RATE, alpha=RMS_DECAY, eps=1e-8)
    inputs, targets = (
        torch.from_numpy(np.array(side, np.int64)) for side in (data.inputs, data.targets)
    )
    best, chosen = validate(params), params
    for number, count in enumerate(steps, 1):
        optimizer.param_groups[0]["lr"] = float(learning_rate(number))
        began, total, carry = time.perf_counter(), 0.0, None
        for step in range(count):
            one_hot = torch.nn.functional.one_hot(inputs[step], model.vocab_size).float()
            ys, carry = module(one_hot, carry)
            loss = torch.nn.functional.cross_entropy(
                readout(ys).flatten(0, 1), targets[step].flatten()
            )
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_value_(weights, CLIP)
            optimizer.step()
            carry = tuple(c.detach() for c in carry) if cell == "lstm" else carry.detach()
            total += loss.item()
        seconds = time.perf_counter() - began
        _, layer = from_torch(module)
        w, b = (jnp.array(array.detach().numpy()) for array in readout.parameters())
        now = {"layer": layer, "readout": {"w": w.T, "b": b}}
        validation = validate(now)
        if validation < best:
            best, chosen = validation, now
        tell(Epoch(number, count, total / count, validation, seconds))
    return chosen


def import_torch() -> Any:
    """PyTorch, of which mypy and an installation without it need know nothing."""
    try:
        return importlib.import_module("torch")
    except ImportError:
        raise ValueError("--torch needs PyTorch: pip install torch, or leave it out") from None
