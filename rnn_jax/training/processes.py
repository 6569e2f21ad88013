"""What the processes of a training agree on, and the arrays that are spread over all of them.

Each runs the same program. What depends on a clock, a signal or a file is known to one of them
alone, and must be made known to all, for else one would wait for a sum that the others never begin.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding

from rnn_jax.arrays.checks import is_key

__all__ = ["Processes", "here", "place", "processes_of", "whole"]

T = TypeVar("T")
_SENTENCE = 2048  # bytes of one


@dataclass(frozen=True)
class Processes:
    """The processes of a training; each call of a method is one of all of them, in the same order.

    count: how many there are.
    number: of this one; process 0 decides, writes and prints.
    """

    count: int = 1
    number: int = 0

    @property
    def leads(self) -> bool:
        """Whether this is process 0."""
        return self.number == 0

    def led(self, value: float) -> float:
        """The number that process 0 has.

        Example:
          >>> Processes().led(0.1)
          0.1
        """
        return value if self.count == 1 else float(self._every(value)[0])

    def most(self, value: float) -> float:
        """The largest number that any of them has."""
        return value if self.count == 1 else float(self._every(value).max())

    def alike(self, function: Callable[[], T]) -> T:
        """``function()``; an error of one of them ends all, in the others as a ValueError."""
        if self.count == 1:
            return function()
        result, said = None, ""
        own: Exception | None = None
        try:
            result = function()
        except Exception as error:  # whatever it is, the others wait to hear of it
            own, said = error, _said(error)
        sentences = self._texts(said, _SENTENCE)
        if own is not None:
            raise own
        for sentence in filter(None, sentences):
            raise ValueError(sentence)
        return result  # type: ignore[return-value]

    def said(self, text: str) -> str:
        """The text of at most 64 bytes that process 0 has.

        Example:
          >>> Processes().said("ba7816bf")
          'ba7816bf'
        """
        return text if self.count == 1 else self._texts(text, 64)[0]

    def check_same(self, what: str, checksum: str) -> None:
        """Raise ValueError, in all of them, where a checksum is another one than in process 0."""
        if self.count == 1:
            return
        every = self._gathered(np.frombuffer(checksum.encode().ljust(64, b"\0")[:64], np.uint8))
        other = [number for number in range(self.count) if (every[number] != every[0]).any()]
        if other:
            raise ValueError(
                f"process {other[0]} of {self.count} differs from process 0 in {what}: start all "
                "of them with the same"
            )

    def _every(self, value: float) -> np.ndarray:
        # As bytes: JAX has no 64 bits unless it is told to.
        content = np.frombuffer(np.float64(value).tobytes(), np.uint8)
        return self._gathered(content).view(np.float64)[:, 0]

    def _texts(self, text: str, size: int) -> list[str]:
        """The text of every process, cut off after so many bytes."""
        content = np.frombuffer(text.encode(errors="replace")[:size].ljust(size, b"\0"), np.uint8)
        rows = self._gathered(content)
        return [row.tobytes().rstrip(b"\0").decode(errors="ignore") for row in rows]

    def _gathered(self, content: np.ndarray) -> np.ndarray:
        """The same array of every process, one row each."""
        from jax.experimental import multihost_utils

        rows: np.ndarray = np.ascontiguousarray(multihost_utils.process_allgather(content))
        return rows


def _said(error: Exception) -> str:
    if isinstance(error, ValueError):
        return str(error) or "there is an error"
    return f"{type(error).__name__}: {error}"


def processes_of(mesh: Mesh | None) -> Processes:
    """The processes that the devices of a mesh belong to.

    Raises:
      ValueError: one of those that there are has no device in it.
    """
    if mesh is None or jax.process_count() == 1:
        return Processes()
    numbers = {device.process_index for device in mesh.devices.flat}
    if numbers == {jax.process_index()}:
        return Processes()
    left_out = sorted({*range(jax.process_count())} - numbers)
    if left_out:
        raise ValueError(
            f"the mesh of {mesh.size} devices has none of process {left_out[0]}: give it devices "
            "of every process"
        )
    return Processes(jax.process_count(), jax.process_index())


def place(leaf: Any, sharding: Sharding) -> Any:
    """An array on devices, some of which may be those of other processes.

    It must be the same in all of them; each copies the part of its own devices.
    """
    if sharding.is_fully_addressable:
        return jax.device_put(leaf, sharding)
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        same = leaf.sharding.is_equivalent_to(sharding, leaf.ndim)
        return leaf if same else _moved(sharding)(leaf)
    if is_key(leaf):
        data = place(jax.random.key_data(leaf), sharding)
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
    if not isinstance(leaf, np.ndarray):
        leaf = jnp.asarray(leaf)
        if leaf.weak_type:  # which nothing else would keep
            return _moved(sharding)(leaf)
    content = np.asarray(leaf)
    return jax.make_array_from_callback(content.shape, sharding, lambda part: content[part])


def here(tree: Any) -> Any:
    """The same arrays, those that are on every device as arrays of this process's first one."""

    def own(leaf: Any) -> Any:
        if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable:
            return leaf
        return leaf.addressable_data(0)

    return jax.tree.map(own, tree)


def whole(tree: Any) -> Any:
    """The same arrays, those that are spread over several processes whole in each; by all."""

    def gathered(leaf: Any) -> Any:
        if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable:
            return leaf
        if leaf.is_fully_replicated:
            return leaf
        mesh = leaf.sharding.mesh  # type: ignore[attr-defined]
        return _moved(NamedSharding(mesh, PartitionSpec()))(leaf)  # type: ignore[no-untyped-call]

    return jax.tree.map(gathered, tree)


def _unchanged(leaf: Any) -> Any:
    return leaf


@lru_cache(maxsize=32)
def _moved(sharding: Sharding) -> Callable[[Any], Any]:
    moved: Callable[[Any], Any] = jax.jit(_unchanged, out_shardings=sharding)
    return moved
