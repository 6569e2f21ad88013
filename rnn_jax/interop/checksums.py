"""A checksum for each tensor, kept in the header of a safetensors file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from rnn_jax.host.checksums import checksum

__all__ = ["check_tensors", "tensor_checksums"]

_KEY = "checksums"  # one entry for all: several would come in another order in every process


def tensor_checksums(tensors: Mapping[str, np.ndarray]) -> dict[str, str]:
    """The metadata that hold the checksum of each tensor's dtype, shape and values."""
    return {_KEY: json.dumps(_checksums(tensors))}


def check_tensors(
    path: str, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None
) -> None:
    """Raise ValueError unless the tensors are those whose checksums the metadata hold.

    A file without checksums, from elsewhere or written before there were any, passes.
    """
    if _KEY not in (metadata or {}):
        return
    found = _checksums(tensors)
    kept = _read(metadata[_KEY]) if metadata else {}
    damaged = sorted(name for name in kept.keys() | found if kept.get(name) != found.get(name))
    if damaged:
        raise ValueError(
            f"{path} is damaged: {damaged[0]} in it is not what was written; restore the file from "
            "a copy"
        )


def _read(text: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _checksums(tensors: Mapping[str, np.ndarray]) -> dict[str, str]:
    return {name: _checksum(tensor) for name, tensor in sorted(tensors.items())}


def _checksum(tensor: np.ndarray) -> str:
    # As bytes, because bfloat16 has no buffer of its own.
    values = np.ascontiguousarray(tensor).reshape(-1).view(np.uint8)
    return checksum(f"{tensor.dtype.name} {list(tensor.shape)} ".encode(), values.data)
