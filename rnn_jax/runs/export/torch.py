"""A run's model as the state dict of a PyTorch module, and Python that builds the module."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np

from rnn_jax.cells.elman import Elman
from rnn_jax.interop import save_params, to_torch
from rnn_jax.layers import recurrent, serial
from rnn_jax.runs.export.lines import sampling
from rnn_jax.runs.export.plain import Plain, plain_model
from rnn_jax.runs.load import Run

__all__ = ["save_torch_model", "torch_lines"]


def save_torch_model(run: Run, folder: Path) -> None:
    """Write ``embedding``, ``rnn`` and ``decoder`` under PyTorch's names.

    Raises:
      ValueError: PyTorch has no such modules.
    """
    plain, rnn = _parts(run)
    arrays = {f"rnn.{name}": array for name, array in rnn.items()}
    matrix, bias, axis = plain.model.matrix(run.params)
    # PyTorch's matrices are the transposes; that of an embedding is not.
    arrays["decoder.weight"] = np.asarray(matrix.T if axis else matrix)
    if bias is not None:
        arrays["decoder.bias"] = np.asarray(bias)
    if plain.model.embedding_size is not None:
        arrays["embedding.weight"] = np.asarray(run.params["embedding"])
    save_params(folder / "model.safetensors", arrays)


def torch_lines(run: Run) -> str:
    """The module with the state dict, and a loop that samples from it."""
    (plain, rnn), size = _parts(run), len(run.vocabulary)
    cell, depth = plain.cell, len(plain.parts)
    hidden = cell.output_size
    embedded = plain.model.embedding_size
    kind = {"Elman": "RNN", "GRUAfter": "GRU"}.get(type(cell).__name__, "LSTM")
    units = getattr(cell, "hidden_size", hidden)  # a projected LSTM has more than it gives out
    options = [f"{embedded or size}", f"{units}", f"num_layers={depth}"]
    if isinstance(cell, Elman) and cell.activation is jax.nn.relu:
        options.append('nonlinearity="relu"')
    if "weight_hr_l0" in rnn:
        options.append(f"proj_size={hidden}")
    if "bias_ih_l0" not in rnn:  # a forget bias is one
        options.append("bias=False")
    modules = [f"rnn=torch.nn.{kind}({', '.join(options)}),"]
    no_bias = "" if plain.model.bias else ", bias=False"
    modules.append(f"decoder=torch.nn.Linear({hidden}, {size}{no_bias}),")
    one = "torch.tensor([[token]])"
    if embedded:
        modules.insert(0, f"embedding=torch.nn.Embedding({size}, {embedded}),")
        read = f'model["embedding"]({one})'
    else:
        read = f"torch.nn.functional.one_hot({one}, {size}).float()"
    return sampling(
        run,
        "import torch\nfrom safetensors.torch import load_file",
        "\n".join(
            [
                "model = torch.nn.ModuleDict(dict(",
                *(f"    {line}" for line in modules),
                ")).requires_grad_(False)",
                'model.load_state_dict(load_file("model.safetensors"))',
                "state = None",
            ]
        ),
        f'ys, state = model["rnn"]({read}, state)\nlogits = model["decoder"](ys)[0, 0].numpy()',
    )


def _parts(run: Run) -> tuple[Plain, dict[str, np.ndarray]]:
    """The model taken apart, and the state dict of its recurrent module."""
    plain = plain_model(run.model, run.params)
    if plain is None:
        raise ValueError(
            "a PyTorch module is written of an embedding, a stack of one cell and a linear "
            "read-out, and the model of this run has more: choose another format"
        )
    stack = serial(*[recurrent(plain.cell)] * len(plain.parts))
    try:
        rnn = to_torch(stack, {str(i): part for i, part in enumerate(plain.parts.values())})
    except ValueError as error:
        raise ValueError(f"PyTorch has no module for the model of this run: {error}") from None
    return plain, rnn
