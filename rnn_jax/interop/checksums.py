"""A checksum for each tensor of a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rnn_jax.host.checksums import checksum

__all__ = ["check_tensors", "tensor_checksums"]


def tensor_checksums(tensors: Mapping[str, np.ndarray]) -> dict[str, str]:
    """The checksum of each tensor's dtype, shape and values."""
    return {name: _checksum(tensor) for name, tensor in sorted(tensors.items())}


def check_tensors(tensors: Mapping[str, np.ndarray], kept: Mapping[str, Any]) -> None:
    """Raise ValueError unless the tensors are those of the checksums kept."""
    found = tensor_checksums(tensors)
    damaged = sorted(name for name in kept.keys() | found if kept.get(name) != found.get(name))
    if damaged:
        raise ValueError(f"{damaged[0]} in it is not what was written")


def _checksum(tensor: np.ndarray) -> str:
    # As bytes, because bfloat16 has no buffer of its own.
    values = np.ascontiguousarray(tensor).reshape(-1).view(np.uint8)
    return checksum(f"{tensor.dtype.name} {list(tensor.shape)} ".encode(), values.data)
