"""What a command tells beside the training: the parameters, and how far a text is read."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import jax

from rnn_jax.runs import RunData
from rnn_jax.training.report import bar, is_terminal
from rnn_jax.types import Params

__all__ = ["long_evaluation", "parameter_summary", "tokenizing"]

_EVERY = 10.0  # seconds from one plain line to the next
_MANY = 1 << 20  # targets, whose evaluation takes a second or more


def parameter_summary(params: Params) -> str:
    """A line for each array, and their number of parameters.

    Example:
      >>> import jax.numpy as jnp
      >>> print(parameter_summary({"readout": {"w": jnp.zeros((2, 3)), "b": jnp.zeros(3)}}))
      readout.b              [3]              3
      readout.w              [2, 3]           6
      parameters in all                       9
    """
    rows = [
        (jax.tree_util.keystr(keys, simple=True, separator="."), str(list(leaf.shape)), leaf.size)
        for keys, leaf in jax.tree.leaves_with_path(params)
    ]
    rows.append(("parameters in all", "", sum(size for _, _, size in rows)))
    return "\n".join(f"{name:<22} {shape:<14} {size:>9,}" for name, shape, size in rows)


def long_evaluation(data: RunData) -> str | None:
    """What to say before the parameters that a run begins with are evaluated, where that lasts."""
    if data.evaluated < _MANY:
        return None
    remedy = "a shorter --valid"
    if data.config.valid is None:
        size = data.tokens + (data.evaluated if data.config.held_out else 0)
        share = _MANY / size
        digit = 10.0 ** math.floor(math.log10(share))
        # Rounded down: what is said must take less than what is.
        remedy = f"--held-out {math.floor(share / digit) * digit:.1g}"
    return (
        f"evaluating on {data.evaluated:,} tokens, before the first step and each time after it; "
        f"{remedy} takes less time"
    )


@contextmanager
def tokenizing() -> Iterator[Callable[[int, int], None]]:
    """A progress callback for `prepare`: a bar on a terminal, plain lines elsewhere."""
    if is_terminal(sys.stderr):
        with bar() as shown:
            task = shown.add_task("tokenizing", total=None)
            yield lambda done, total: shown.update(task, completed=done, total=total)
        return
    told = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal told
        if time.monotonic() - told >= _EVERY:
            told = time.monotonic()
            print(f"tokenizing: {done:,} of {total:,} bytes", file=sys.stderr, flush=True)

    yield tell
