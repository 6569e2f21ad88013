"""Metrics for TensorBoard."""

from __future__ import annotations

import os
from typing import Any

from rnn_jax.host.files import Row
from rnn_jax.training.progress import Progress
from rnn_jax.types import Params

__all__ = ["TensorBoard"]

_NAMES = {
    "loss": "loss/validation",
    "train_loss": "loss/training",
    "perplexity": "perplexity/validation",
    "learning_rate": "learning_rate",
    "tokens_per_second": "tokens_per_second",
    "skipped": "skipped_steps",
}


class TensorBoard:
    """A `Listener` that writes each row of metrics, against the step, where TensorBoard reads.

    Between evaluations it writes the training loss about once a second. It needs tensorboardX:
    ``pip install 'rnn-jax-functional[tensorboard]'``.

    Args:
      folder: the log directory; ``tensorboard --logdir FOLDER`` shows it.

    Raises:
      ValueError: tensorboardX is missing, or the folder cannot be written to.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            raise ValueError(
                "TensorBoard's files are written by tensorboardX, which is not installed: "
                "pip install 'rnn-jax-functional[tensorboard]'"
            ) from None
        try:
            self._writer: Any = SummaryWriter(os.fspath(folder))
        except OSError as error:
            raise ValueError(
                f"{os.fspath(folder)} cannot be written to ({error.strerror}): choose another one"
            ) from None

    def __enter__(self) -> TensorBoard:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def progress(self, progress: Progress) -> None:
        """Write the training loss since the evaluation before."""
        if progress.loss is not None:
            self._writer.add_scalar("loss/training_so_far", progress.loss, progress.step)

    def evaluated(self, row: Row, params: Params = None) -> None:
        """Write a row of metrics."""
        for name, tag in _NAMES.items():
            if row.get(name) is not None:
                self._writer.add_scalar(tag, row[name], row["step"])
        self._writer.flush()

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()
