"""PyTorch's ``.pt`` files without torch, and without running what a pickle asks for.

Such a file is a zip archive: a pickle of the dicts, in which tensors are named by their storage,
and the bytes of each storage. A pickle may name any function; here it gets only those by which
PyTorch rebuilds a tensor, and ours in their place. These check whatever they are given, and the
pickle sets the state of nothing.
"""

from __future__ import annotations

import math
import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import jax.numpy as jnp
import numpy as np

from rnn_jax.host.files import reason
from rnn_jax.interop.tensors import load_tensors
from rnn_jax.interop.weights import Weights

__all__ = ["read_torch_file", "tensors_of"]

_DTYPES: dict[str, Any] = {
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "BFloat16Storage": jnp.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}


def tensors_of(path: str | os.PathLike[str]) -> Any:
    """What a ``.pt`` file holds, or the tensors of a safetensors file by name; told by content.

    Raises:
      ValueError: there is no such file, it is neither, or it holds something else; see
        `read_torch_file`.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(9)
    except OSError as error:
        raise ValueError(f"{os.fspath(path)} cannot be read: {reason(error)}") from None
    # An older ``.pt`` file, which is no archive, begins as pickles do. So does a safetensors file
    # whose header is of 640 bytes; but this header, from the ninth byte on, is a JSON object.
    if start.startswith((b"PK\x03\x04", b"\x80\x02")) and start[8:] != b"{":
        return read_torch_file(path)
    return load_tensors(path)


def read_torch_file(path: str | os.PathLike[str]) -> Any:
    """What ``torch.save`` wrote: dicts, lists and numbers, with NumPy arrays for tensors.

    Raises:
      ValueError: there is no such file, it is none of PyTorch's 1.6 or later, or it holds something
        else than tensors and Python's own containers and numbers.
    """
    name = os.fspath(path)
    try:
        with zipfile.ZipFile(name) as archive:
            entry = next((n for n in archive.namelist() if n.endswith("/data.pkl")), None)
            if entry is None:
                raise ValueError("it has no data.pkl")
            with archive.open(entry) as stream:
                return _Reader(stream, archive, entry.removesuffix("data.pkl")).load()
    except OSError as error:
        raise ValueError(f"{name} cannot be read: {reason(error)}") from None
    except _Foreign as error:
        raise ValueError(
            f"{name} holds {error}, which is not read because loading it could run any code: save "
            "the state dict alone, torch.save(model.state_dict(), path)"
        ) from None
    except Exception as error:  # a damaged archive or pickle raises nearly anything
        raise ValueError(
            f"{name} is not a file of torch.save from PyTorch 1.6 or later "
            f"({str(error) or type(error).__name__}): save the state dict there again"
        ) from None


class _Foreign(Exception):
    """The name of something that the pickle asks for and does not get."""


@dataclass(frozen=True, slots=True)
class _Storage:
    """Numbers in one dimension, from the archive: a pickle can make none of its own."""

    numbers: Weights


# In Python, because that in C lets no method decide what happens to state.
class _Reader(pickle._Unpickler):
    """Builds dicts of arrays; every name that it does not know is an error."""

    stack: list[Any]

    def __init__(self, stream: Any, archive: zipfile.ZipFile, folder: str) -> None:
        super().__init__(stream)
        self._archive, self._folder = archive, folder
        self._storages: dict[str, _Storage] = {}
        order = f"{folder}byteorder"
        big = order in archive.namelist() and archive.read(order) == b"big"
        self._order: Literal[">", "<"] = ">" if big else "<"

    def find_class(self, module: str, name: str) -> Any:
        """One of the few names there are."""
        if module == "torch" and name in _DTYPES:
            return np.dtype(_DTYPES[name])
        found = _NAMES.get((module, name))
        if found is None:
            raise _Foreign(f"{module}.{name}")
        return found

    def persistent_load(self, pid: Any) -> _Storage:
        """A storage of the archive."""
        kind, dtype, key, _, size = pid
        if kind != "storage" or not isinstance(dtype, np.dtype) or not isinstance(key, str):
            raise ValueError("it names a storage in another way than PyTorch does")
        if key not in self._storages:
            data = self._archive.read(f"{self._folder}data/{key}")
            if len(data) != size * dtype.itemsize:
                raise ValueError(f"storage {key} has {len(data)} bytes")
            wide = dtype.itemsize > 1 and dtype.kind in "fiu"
            stored = np.frombuffer(data, dtype.newbyteorder(self._order) if wide else dtype)
            self._storages[key] = _Storage(stored.astype(dtype))
        return self._storages[key]

    def _state(self) -> None:
        # PyTorch sets one only for a state dict: the versions of its modules, which nobody reads.
        self.stack.pop()
        if type(self.stack[-1]) is not OrderedDict:
            raise _Foreign(f"state for a {type(self.stack[-1]).__name__}")

    dispatch: ClassVar[dict[int, Any]] = {**pickle._Unpickler.dispatch, pickle.BUILD[0]: _state}


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Weights:
    """What ``torch._utils._rebuild_tensor_v2`` makes, as an array of its own."""
    if type(storage) is not _Storage:
        raise ValueError(f"it has a tensor in a {type(storage).__name__} and not in a storage")
    if type(size) is not tuple or type(stride) is not tuple or len(size) != len(stride):
        raise ValueError("it has a tensor whose shape and strides do not fit together")
    if any(type(n) is not int or n < 0 for n in (offset, *size, *stride)):
        raise ValueError("it has a tensor whose shape and strides are no natural numbers")
    numbers = storage.numbers
    if 0 in size:
        return np.zeros(size, numbers.dtype)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    # Of more numbers than there are, a tensor expanded to any size.
    if last >= len(numbers) or math.prod(size) > len(numbers):
        raise ValueError(f"it has a tensor of shape {size} in a storage of {len(numbers)} numbers")
    steps = [step * numbers.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(numbers[offset:], size, steps).copy()


def _parameter(tensor: Any, *_: Any) -> Weights:
    if type(tensor) is not np.ndarray:
        raise ValueError(f"it has a parameter that is a {type(tensor).__name__} and no tensor")
    return tensor


_NAMES: Mapping[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch", "Size"): tuple,
}
