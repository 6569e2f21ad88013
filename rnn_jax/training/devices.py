"""A training on the devices of a mesh: rows are spread over them, all else is on every one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from rnn_jax.training.batches import Consume, State, Windows
from rnn_jax.training.fed import Fed
from rnn_jax.training.processes import place
from rnn_jax.training.step import TrainState
from rnn_jax.types import Array, Batch, Carry

__all__ = ["AXIS", "EVERYWHERE", "ROWS", "Devices", "devices_of"]

AXIS = "data"
EVERYWHERE: Any = PartitionSpec()  # type: ignore[no-untyped-call]
ROWS: Any = PartitionSpec(AXIS)  # type: ignore[no-untyped-call]

Epochs = Callable[[int], tuple[Any, int]]  # their batches by their numbers, and how many are real


def devices_of(mesh: Any) -> Devices:
    """The devices of a mesh of one axis, ``data``.

    Raises:
      ValueError: it is no such mesh.
    """
    if not isinstance(mesh, Mesh):
        raise ValueError(
            f"mesh must be a jax.sharding.Mesh, such as jax.make_mesh((8,), ('{AXIS}',)), not "
            f"{mesh!r:.80}"
        )
    if mesh.axis_names != (AXIS,):
        raise ValueError(
            f"the mesh must have one axis, '{AXIS}', over which the rows of a batch are spread, "
            f"not {mesh.axis_names}: make it by jax.make_mesh(({mesh.size},), ('{AXIS}',))"
        )
    # In a mesh of Explicit axes a layout would be part of the type of all that comes of an array.
    return Devices(Mesh(mesh.devices, (AXIS,)))


@dataclass(frozen=True)
class Devices:
    """The devices of a mesh, and where on them the parts of a training are."""

    mesh: Mesh

    @property
    def count(self) -> int:
        """How many there are."""
        return int(self.mesh.size)

    def check_rows(self, name: str, batch_size: int) -> None:
        """Raise ValueError unless the rows of a batch can be spread evenly."""
        if not self.can_share(batch_size):
            good = [n for n in range(1, self.count) if batch_size % n == 0]
            raise ValueError(
                f"the batches of {name} have {batch_size} rows, which {self.count} devices cannot "
                f"share evenly: use a multiple of {self.count} rows, or {_any_of(good)} devices"
            )

    def everywhere(self, tree: Any) -> Any:
        """The same arrays on every device."""
        return self._put(tree, EVERYWHERE)

    def by_rows(self, carry: Carry) -> Carry:
        """A carry, its rows spread."""
        return self._put(carry, ROWS)

    def state(self, state: TrainState) -> TrainState:
        """A state with its carry spread."""
        carry = self.by_rows(state.carry)
        return TrainState(*map(self.everywhere, state._replace(carry=None)))._replace(carry=carry)

    def batches(self, data: Any) -> Any:
        """A data set where steps read it: windows by rows, any other on every device."""
        specs = _specs_of(data) if self.can_share(data.batch_size) else EVERYWHERE
        return self._put(data, specs)

    def rows(self, batch_size: int) -> slice:
        """The rows of a batch that the devices of this process have."""
        if not self.can_share(batch_size):
            return slice(0, batch_size)
        here, size = jax.process_index(), batch_size // self.count
        mine = [n for n, one in enumerate(self.mesh.devices.flat) if one.process_index == here]
        return slice(mine[0] * size, (mine[-1] + 1) * size)

    def piece(self, batches: Any, batch_size: int, rows: slice) -> Any:
        """As `batches`, of which there are only those `rows` where they are windows."""
        if batches.batch_size == batch_size:
            return self.batches(batches)

        def spread(spec: Any, part: Any) -> Any:
            axis = len(spec) - 1
            shape = (*part.shape[:axis], batch_size, *part.shape[axis + 1 :])

            def cut(index: Any) -> Any:
                first, stop, _ = index[axis].indices(batch_size)
                own = slice(first - rows.start, stop - rows.start)
                return part[*index[:axis], own, *index[axis + 1 :]]

            return jax.make_array_from_callback(shape, NamedSharding(self.mesh, spec), cut)

        return jax.tree.map(spread, _specs_of(batches), batches)

    def epochs(self, epoch: Epochs) -> Epochs:
        """The same batches, where steps read them."""
        latest: list[Any] = [None, None]

        def placed(number: int) -> tuple[Any, int]:
            data, count = epoch(number)
            if latest[0] is not data:
                self.check_rows("data", data.batch_size)
                # What is fed is put there piece by piece.
                latest[:] = data, data if isinstance(data, Fed) else self.batches(data)
            return latest[1], count

        return placed

    def can_share(self, batch_size: int) -> bool:
        """Whether rows can be spread evenly."""
        return batch_size % self.count == 0

    def mapped(self, function: Callable[..., Any], into: Any, out: Any) -> Callable[..., Any]:
        """``function(tree, data, …)`` on each device's rows, by ``jax.shard_map``.

        Args:
          function: of a tree, of batches, which are those of this device's rows, and of more that
            is the same everywhere.
          into: specs of the tree.
          out: specs of the results.
        """

        def one(tree: Any, data: Any, *more: Any) -> Any:
            return function(tree, data if isinstance(data, Windows) else _Mine(data), *more)

        def call(tree: Any, data: Any, *more: Any) -> Any:
            specs = (into, _specs_of(data), *(EVERYWHERE,) * len(more))
            spread = jax.shard_map(one, mesh=self.mesh, in_specs=specs, out_specs=out)
            return spread(tree, data, *more)

        return call

    def _put(self, tree: Any, specs: Any) -> Any:
        def put(spec: Any, part: Any) -> Any:
            sharding = NamedSharding(self.mesh, spec)
            return jax.tree.map(lambda leaf: place(leaf, sharding), part)

        return jax.tree.map(put, specs, tree)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class _Mine:
    """This device's rows of batches that are on every device."""

    data: Any

    @property
    def count(self) -> int:
        return int(self.data.count)

    def visit(self, index: Array, consume: Consume[State], state: State) -> State:
        def cut(state: State, batch: Batch) -> State:
            size = batch.inputs.shape[1] // lax.axis_size(AXIS)
            first = lax.axis_index(AXIS) * size

            def mine(part: Array) -> Array:
                # A classifier's targets have no axis of steps.
                return lax.dynamic_slice_in_dim(part, first, size, min(1, part.ndim - 1))

            return consume(state, jax.tree.map(mine, batch))

        result: State = self.data.visit(index, cut, state)
        return result


def _specs_of(data: Any) -> Any:
    """Windows by rows, which a classifier's targets have in place of steps; else everywhere."""
    if not isinstance(data, Windows):
        return EVERYWHERE
    spec: Any = PartitionSpec
    return jax.tree.map(lambda part: spec(*(None,) * min(2, part.ndim - 1), AXIS), data)


def _any_of(numbers: list[int]) -> str:
    *most, last = map(str, numbers)
    return f"{', '.join(most)} or {last}" if most else last
