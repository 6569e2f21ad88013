"""The training state on disk, by Orbax: what a run needs to go on exactly where it stopped."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import jax
import numpy as np

__all__ = ["restore_checkpoint", "save_checkpoint"]


def save_checkpoint(folder: Path, step: int, tree: Any) -> None:
    """Write ``tree`` as checkpoint ``step``; the one before is deleted once this one is whole.

    A checkpoint of that step which exists already holds the same state and is left alone.
    """
    import orbax.checkpoint as ocp

    with _manager(folder) as manager:
        if manager.latest_step() != step:
            manager.save(step, args=ocp.args.StandardSave(jax.tree.map(_array, tree)))


def restore_checkpoint(folder: Path, like: Any) -> Any:
    """The latest checkpoint in the structure, shapes and dtypes of ``like``.

    Raises:
      ValueError: there is none, or it does not fit.
    """
    import orbax.checkpoint as ocp

    if not folder.is_dir():
        raise ValueError(f"{folder} does not exist: there is nothing to resume")
    with _manager(folder) as manager:
        step = manager.latest_step()
        if step is None:
            raise ValueError(f"{folder} holds no complete checkpoint: there is nothing to resume")
        try:
            tree = jax.tree.map(_array, like)
            return manager.restore(step, args=ocp.args.StandardRestore(tree))
        except (ValueError, KeyError, TypeError, OSError) as error:
            first = str(error).strip().splitlines()[0]
            raise ValueError(f"the checkpoint in {folder} does not fit this run: {first}") from None


def _array(leaf: Any) -> Any:
    return leaf if isinstance(leaf, jax.Array) else np.asarray(leaf)


def _manager(folder: Path) -> Any:
    import orbax.checkpoint as ocp

    # Orbax reports every save through absl; a run's own lines are enough.
    logging.getLogger("absl").setLevel(logging.ERROR)
    options = ocp.CheckpointManagerOptions(max_to_keep=1, enable_async_checkpointing=False)
    return ocp.CheckpointManager(folder.absolute(), options=options)
