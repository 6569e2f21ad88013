"""A training in a folder: held for one process, and what goes on from it."""

from __future__ import annotations

import contextlib
import math
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnn_jax.host.checksums import checksum, checksum_of_json
from rnn_jax.host.locks import Locked, exclusive
from rnn_jax.training.history import History
from rnn_jax.training.plan import Position
from rnn_jax.training.processes import Processes
from rnn_jax.training.step import TrainState
from rnn_jax.training.store import Saved, Store
from rnn_jax.types import Array, Params

__all__ = ["best_of", "fingerprint", "opened", "resumed"]


def fingerprint(key: Array | None, data: Any) -> dict[str, Any]:
    """What tells one training from another, as far as a glance at its data can tell."""
    began: dict[str, Any] = {"key": None}
    if key is not None:
        words = jax.random.key_data(key) if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else key
        began["key"] = np.asarray(words).tolist()
    if data is not None:
        leaves = jax.tree.leaves(data)
        parts = [np.asarray(leaf.reshape(-1)[: 1 << 18]).tobytes() for leaf in leaves]
        began["data"] = checksum(str([leaf.shape for leaf in leaves]).encode(), *parts)
    return began


class _Read(Store):
    """The folder of a training that another process writes."""

    def save(self, saved: Saved) -> None:
        """Nothing is written."""

    def write_history(self, history: History) -> None:
        """Nothing is written."""


@contextmanager
def opened(
    folder: str | os.PathLike[str] | Store | None,
    keep: int,
    processes: Processes,
    *,
    resume: bool,
) -> Iterator[Store | None]:
    """A folder's files; its lock is held within the block, unless the caller holds it.

    One of several processes writes it; the others read it where a training goes on.
    """
    with contextlib.ExitStack() as stack:
        if processes.leads:
            entered = partial(stack.enter_context, _opened(folder, keep))
            yield processes.alike(entered)
        else:
            path = folder.path if isinstance(folder, Store) else folder
            processes.alike(lambda: None)
            store = _Read(Path(path)) if path is not None and resume else None
            try:
                yield store
            finally:
                if store is not None:
                    store.close()


@contextmanager
def _opened(folder: str | os.PathLike[str] | Store | None, keep: int) -> Iterator[Store | None]:
    with contextlib.ExitStack() as stack:
        store = None
        if isinstance(folder, Store):
            store = folder
        elif folder is not None:
            if not isinstance(folder, str | os.PathLike):
                raise ValueError(f"folder must be a path, not {folder!r}")
            path = Path(folder)
            try:
                path.mkdir(parents=True, exist_ok=True)
                stack.enter_context(exclusive(path / ".lock"))
            except Locked as error:
                raise ValueError(
                    f"another training writes to {path} (process {error}): wait until it ends, or "
                    "choose another folder"
                ) from None
            except OSError as error:
                raise ValueError(
                    f"{path} cannot be written to ({error.strerror}): choose another folder"
                ) from None
            store = Store(path, keep=keep)
        try:
            yield store
        finally:
            if store is not None:
                store.close()


def resumed(
    folder: Store | None,
    like: TrainState,
    began_with: dict[str, Any],
    evaluate: Callable[[Params], float] | None,
    processes: Processes,
) -> tuple[TrainState, Position, History]:
    """The state, the position and the history that a folder holds; by all processes."""
    state, position, history = processes.alike(partial(_held, folder, like, began_with))
    processes.check_same("the checkpoint in the folder", checksum_of_json(asdict(position)))
    if evaluate is not None:
        assert folder is not None
        position.best = _lowest(folder, like.params, evaluate, position, processes)
    return state, position, history


def _held(
    folder: Store | None, like: TrainState, began_with: dict[str, Any]
) -> tuple[TrainState, Position, History]:
    if folder is None:
        raise ValueError(
            "process 0 goes on with a training and another process was not told so: pass the same "
            "folder= and resume=True to all of them"
        )
    store = folder
    state, kept = store.load(like)
    before = kept.pop("began_with", began_with)
    for name, what in (("key", "key="), ("data", "data")):
        if before.get(name) != began_with.get(name):
            raise ValueError(
                f"the training in {store.path} was begun with other {what}: pass the same, or "
                "choose another folder"
            )
    try:
        position = Position(**kept)
    except TypeError:
        raise ValueError(
            f"the checkpoint in {store.path} is of another version of rnn_jax: go on with that one"
        ) from None
    history = store.history().until(position.step)
    if not history.rows and position.step:
        warnings.warn(
            f"{store.path}/metrics.jsonl has no row of before: a new history begins", stacklevel=3
        )
    return state, position, history


def _lowest(
    store: Store,
    like: Params,
    evaluate: Callable[[Params], float],
    position: Position,
    processes: Processes,
) -> float:
    """The loss of the best parameters, as process 0 finds it; infinity where none can be read."""
    best, loss, unread = None, math.inf, ""
    try:
        best, noted = store.best(like)
        loss = noted.get("loss", math.nan)
    except ValueError as error:
        unread = str(error)
    loss = processes.led(loss)
    if math.isnan(loss):  # it was not noted beside them; all of them evaluate, or none
        if processes.most(best is None):
            loss = math.inf
        else:
            try:
                loss = processes.led(processes.alike(partial(evaluate, best)))
            except ValueError as error:
                loss, unread = math.inf, str(error)
    if unread and position.losses:
        warnings.warn(f"{unread}; they are kept from here on", stacklevel=4)
    return loss


def best_of(store: Store, like: Params) -> Params:
    """The best parameters in a folder; None where they cannot be read."""
    try:
        return store.best(like)[0]
    except ValueError:
        return None
