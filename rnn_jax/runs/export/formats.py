"""The formats that a run is exported in: the one table of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from rnn_jax.export import to_onnx, to_stablehlo
from rnn_jax.interop import save_params
from rnn_jax.interop.tensors import named_leaves
from rnn_jax.runs.export import lines
from rnn_jax.runs.export.torch import save_torch_model, torch_lines
from rnn_jax.runs.load import Run

__all__ = ["FORMATS", "Format", "FormatName"]

FormatName = Literal["onnx", "stablehlo", "safetensors", "npz", "torch"]


class Format(NamedTuple):
    """One format.

    about: what it is, for people.
    needs: the packages that `lines` import, as pip knows them.
    write: puts the model's files into a folder.
    lines: Python that samples from the model, or reads it, inside that folder.
    """

    about: str
    needs: tuple[str, ...]
    write: Callable[[Run, Path], None]
    lines: Callable[[Run], str]


def _write_onnx(run: Run, folder: Path) -> None:
    to_onnx(run.model, run.params, folder / "model.onnx")
    _write_carry(run, folder)


def _write_stablehlo(run: Run, folder: Path) -> None:
    for name, steps in (("model", None), ("step", 1)):
        to_stablehlo(run.model, run.params, folder / f"{name}.stablehlo", steps=steps)
    _write_carry(run, folder)


def _write_carry(run: Run, folder: Path) -> None:
    """The initial carry of one row, under the names of the program's inputs."""
    leaves = jax.tree.leaves(run.model.initial_carry((1,), run.params))
    arrays: dict[str, Any] = {f"carry_in.{i}": np.asarray(leaf) for i, leaf in enumerate(leaves)}
    np.savez(folder / "carry.npz", **arrays)


def _write_safetensors(run: Run, folder: Path) -> None:
    save_params(folder / "parameters.safetensors", run.params)


def _write_npz(run: Run, folder: Path) -> None:
    arrays: dict[str, Any] = {name: np.asarray(leaf) for name, leaf in named_leaves(run.params)}
    np.savez(folder / "parameters.npz", **arrays)


FORMATS: Mapping[FormatName, Format] = {
    "onnx": Format(
        "an ONNX model, for onnxruntime and others",
        ("numpy", "onnxruntime"),
        _write_onnx,
        lines.onnx,
    ),
    "stablehlo": Format(
        "artefacts of jax.export, for JAX alone",
        ("flatbuffers", "jax", "numpy"),
        _write_stablehlo,
        lines.stablehlo,
    ),
    "safetensors": Format(
        "the parameters in a safetensors file",
        ("numpy", "safetensors"),
        _write_safetensors,
        lambda run: lines.parameters(run, lines.SAFETENSORS),
    ),
    "npz": Format(
        "the parameters in a file of NumPy arrays",
        ("numpy",),
        _write_npz,
        lambda run: lines.parameters(run, lines.NPZ),
    ),
    "torch": Format(
        "the state dict of a PyTorch module, in a safetensors file",
        ("numpy", "safetensors", "torch"),
        save_torch_model,
        torch_lines,
    ),
}
