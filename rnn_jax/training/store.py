"""The files of a training: written beside it, each whole or not at all, the newest ones kept."""

from __future__ import annotations

import contextlib
import os
import re
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnn_jax.arrays.checks import is_key
from rnn_jax.host.files import Row, atomic_path
from rnn_jax.interop.tensors import DamagedFile, OtherTree, load_noted, save_noted
from rnn_jax.training.history import History, read_history
from rnn_jax.training.processes import place, whole
from rnn_jax.types import Params

__all__ = [
    "BEST",
    "CHECKPOINT",
    "METRICS",
    "PARAMETERS",
    "Saved",
    "Store",
    "is_checkpoint",
    "step_of",
]

CHECKPOINT = "checkpoint.safetensors"  # the newest; older ones have their step in the name
PARAMETERS, BEST = "parameters.safetensors", "best.safetensors"
METRICS = "metrics.jsonl"
# What a checkpoint is of where its first difference is none of the parameters.
_HELD = {
    "state.opt_state": "holds the state of another optimiser",
    "state.carry": "is of batches that continue each other, or are of another size",
}
_OLDER = re.compile(r"checkpoint-(\d+)\.safetensors")


def is_checkpoint(name: str) -> bool:
    """Whether a file of this name is a checkpoint."""
    return name == CHECKPOINT or _OLDER.fullmatch(name) is not None


@dataclass(frozen=True, eq=False)
class Saved:
    """A training at one moment, in the memory of the host.

    state: the tree to go on from.
    position: the rest of it, a JSON object with the entry ``step``.
    params: those to use.
    best: those of the lowest loss and what is noted beside them, where they are new.
    """

    state: Any
    position: Row
    params: Params
    best: tuple[Params, Row] | None = None


def on_host(tree: Any) -> Any:
    """Copies of all arrays in the memory of the host, which no donation takes away.

    Of keys, as an optimiser may hold, their data. What is spread over the devices of several
    processes is sent to each, so that all of them must come here.
    """
    return jax.tree.map(_copied, jax.device_get(whole(_plain(tree))), tree)


def _copied(leaf: Any, of: Any) -> np.ndarray:
    """A copy of one's own; what has been on the host all the time is one."""
    return of if isinstance(of, np.ndarray) else np.array(leaf)


def from_host(tree: Any, like: Any) -> Any:
    """The arrays of `on_host` on the devices, and with the keys, of another such tree."""

    def placed(leaf: Any, other: Any) -> Any:
        array = jnp.asarray(leaf)
        if is_key(other):
            return jax.random.wrap_key_data(array, impl=jax.random.key_impl(other))
        committed = isinstance(other, jax.Array) and other.committed
        return place(array, other.sharding) if committed else array

    return jax.tree.map(placed, tree, like)


def _plain(tree: Any) -> Any:
    return jax.tree.map(lambda x: jax.random.key_data(x) if is_key(x) else x, tree)


class Store:
    """A folder that a training is written to, by a thread of its own.

    A file that cannot be written is a warning while training goes on, and an error at the end.

    Args:
      path: the folder.
      keep: how many checkpoints stay.
      saved: called with the step of a checkpoint that has been written.
    """

    def __init__(
        self, path: Path, *, keep: int = 2, saved: Callable[[int], None] | None = None
    ) -> None:
        self.path, self.keep, self.saved = path, keep, saved
        self.seconds = 0.0  # that the latest writing took
        self.best_written: tuple[Params, Row] | None = None  # the latest that is in its file
        self._damaged: set[Path] = set()
        self._writing: Future[None] | None = None
        self._pool = ThreadPoolExecutor(1, "checkpoint")

    @property
    def busy(self) -> bool:
        """Whether a file is being written."""
        return self._writing is not None and not self._writing.done()

    def save(self, saved: Saved) -> None:
        """Begin to write; waits for the writing before."""
        self.settle()
        self._writing = self._pool.submit(self._write, saved)

    def settle(self, *, last: bool = False) -> None:
        """Wait for what is being written.

        Raises:
          ValueError: it could not be written, and nothing will be written after it.
        """
        writing, self._writing = self._writing, None
        if writing is None:
            return
        try:
            writing.result()
        except (OSError, ValueError) as error:
            if last:
                raise ValueError(f"the training could not be saved: {error}") from None
            kept = self.step
            warnings.warn(
                f"{error}; training goes on"
                + ("" if kept is None else f", and the checkpoint of step {kept} stays"),
                stacklevel=2,
            )

    def close(self) -> None:
        """Wait, and end the thread."""
        self._pool.shutdown()

    @property
    def step(self) -> int | None:
        """The steps that the newest checkpoint has done; None where that cannot be read."""
        return step_of(self.path / CHECKPOINT)

    @property
    def holds_checkpoint(self) -> bool:
        """Whether there is anything to go on from, damaged or not."""
        return any(self._newest_first())

    def load(self, like: Any) -> tuple[Any, Row]:
        """The state and the position of the newest checkpoint that can be read.

        A damaged one is a warning, where there is one from before it.

        Raises:
          ValueError: none can be read, or it is that of another model or of an older version.
        """
        first: DamagedFile | None = None
        files = [*self._newest_first()] or [self.path / CHECKPOINT]
        for file in files:
            try:
                state, position = _read(file, like)
            except DamagedFile as error:
                first = first or error
                self._damaged.add(file)
                continue
            if first is not None:
                warnings.warn(
                    f"{first}; the one of step {position['step']} is used instead", stacklevel=2
                )
            return state, position
        assert first is not None
        if len(files) > 1:
            older = " and ".join(file.name for file in files[1:])
            raise DamagedFile(f"{first} ({older}, from before it, cannot be read either)")
        raise first

    def best(self, like: Params) -> tuple[Params, Row]:
        """The parameters of the lowest loss, and what is noted beside them.

        Raises:
          ValueError: there are none, or they are damaged or of another model.
        """
        if not (self.path / BEST).exists():
            raise ValueError(f"{self.path} has no {BEST}: its run has not kept the best parameters")
        params, beside = load_noted(self.path / BEST, like)
        return params, beside or {}

    def history(self) -> History:
        """What ``metrics.jsonl`` holds; a warning names lines of it that are damaged."""
        return read_history(self.path / METRICS)

    def write_history(self, history: History) -> None:
        """Write all of ``metrics.jsonl``; a failure is a warning, for it is written anew."""
        try:
            with atomic_path(self.path / METRICS) as temporary:
                # Damaged bytes that were read as lone surrogates are written as they were.
                temporary.write_text(
                    str(history), encoding="utf-8", errors="surrogateescape", newline="\n"
                )
        except OSError as error:
            warnings.warn(f"cannot write {self.path / METRICS} ({error.strerror})", stacklevel=2)

    def _newest_first(self) -> Iterator[Path]:
        if (self.path / CHECKPOINT).exists():
            yield self.path / CHECKPOINT
        names = os.listdir(self.path) if self.path.is_dir() else []
        steps = [int(match[1]) for name in names if (match := _OLDER.fullmatch(name))]
        for step in sorted(steps, reverse=True):
            yield self.path / f"checkpoint-{step}.safetensors"

    def _write(self, saved: Saved) -> None:
        began = time.perf_counter()
        if saved.best is not None:
            # First: a training that is killed before the checkpoint finds the same ones again.
            save_noted(self.path / BEST, *saved.best)
            self.best_written = saved.best
        newest, now = self.path / CHECKPOINT, saved.position["step"]
        step = None if newest in self._damaged else step_of(newest)
        if step is not None and step < now and self.keep > 1:
            _link(newest, self.path / f"checkpoint-{step}.safetensors")
        save_noted(newest, {"state": saved.state}, saved.position)
        save_noted(self.path / PARAMETERS, saved.params, None)
        # Beside what is damaged go those of a course that was given up for an older checkpoint.
        self._damaged.discard(newest)
        older = [file for file in self._newest_first() if file != newest]
        sound = [f for f in older if f not in self._damaged and (step_of(f) or 0) < now]
        for old in set(older) - set(sound[: self.keep - 1]):
            old.unlink(missing_ok=True)
        if self.saved is not None:
            self.saved(saved.position["step"])
        self.seconds = time.perf_counter() - began


def _read(file: Path, like: Any) -> tuple[Any, Row]:
    """The state and the position in a checkpoint."""
    wanted = None if like is None else {"state": jax.eval_shape(_plain, like)}
    try:
        tree, position = load_noted(file, wanted, extra="done")
    except OtherTree as error:
        held = next((said for part, said in _HELD.items() if error.name.startswith(part)), None)
        if held is None:
            raise
        raise ValueError(f"{file} {held}: {error.difference}") from None
    if position is not None:
        return from_host(tree["state"], like) if like is not None else tree["state"], position
    # Before, all of it stood in tensors.
    done = {name: np.asarray(value).item() for name, value in tree["done"].items()}
    reach = done.pop("reach", -2)
    loss = done.pop("loss")
    position = {
        **done,
        "step": int(np.asarray(tree["state"].step)),
        "losses": [loss] if np.isfinite(loss) else [],
        "truncation": {-2: None, -1: "full"}.get(reach, f"sliding:{reach}"),
    }
    return tree["state"], position


def _link(file: Path, name: Path) -> None:
    """Give a file a second name, so that it survives when the first one is given away."""
    import shutil

    with contextlib.suppress(FileNotFoundError):
        name.unlink()
    try:
        os.link(file, name)
    except OSError:  # a file system without links
        with atomic_path(name) as temporary:
            shutil.copyfile(file, temporary)


def step_of(file: Path) -> int | None:
    """The steps that a checkpoint has done; None where that cannot be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(os.fspath(file), "numpy") as opened:
            return int(opened.get_tensor("state.step"))
    except (OSError, SafetensorError, TypeError, ValueError):
        return None
