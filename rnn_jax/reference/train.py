"""Training of the NumPy word model: one sentence per step; a rising loss halves the rate."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import datetime

from rnn_jax.reference.word_model import Ids, NumpyRNN

__all__ = ["train"]

Report = Callable[[str, int, int, float], None]


def train(
    model: NumpyRNN,
    xs: Sequence[Ids],
    ys: Sequence[Ids],
    *,
    learning_rate: float = 0.005,
    epochs: int,
    evaluate_loss_after: int = 1,
    bptt_truncate: int = 4,
    report: Report | None = None,
) -> list[tuple[int, float]]:
    """Train by plain SGD, one sentence per step, in the order of the data.

    Before every `evaluate_loss_after`-th epoch, starting with the first, the loss over all the data
    is evaluated; if it is higher than the previous one, the learning rate is halved.

    Args:
        report: called at each evaluation with the time stamp, the examples seen, the epoch and the
            loss.

    Returns:
        (examples seen, loss) for each evaluation.

    Example:
        >>> model = NumpyRNN.init(vocab_size=8, hidden_size=4, seed=0)
        >>> history = train(model, [[0, 3, 4], [0, 5]], [[3, 4, 1], [5, 1]], epochs=2)
        >>> [seen for seen, loss in history]
        [0, 2]
    """
    if not 0 < learning_rate < math.inf:
        raise ValueError(f"learning_rate must be finite and positive, not {learning_rate}")
    if epochs < 0 or evaluate_loss_after < 1:
        raise ValueError("epochs must be 0 or more and evaluate_loss_after 1 or more")
    history: list[tuple[int, float]] = []
    seen = 0
    for epoch in range(epochs):
        if epoch % evaluate_loss_after == 0:
            history.append((seen, model.loss(xs, ys)))
            if len(history) > 1 and history[-1][1] > history[-2][1]:
                learning_rate *= 0.5
            if report is not None:
                report(f"{datetime.now():%Y-%m-%d %H:%M:%S}", seen, epoch, history[-1][1])
        for x, y in zip(xs, ys, strict=True):
            model.sgd_step(x, y, learning_rate, bptt_truncate)
            seen += 1
    return history
