"""Generated tasks of one string to another: dates in many formats, sums of two numbers."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from rnn_jax.types import Array

__all__ = ["TASKS", "Encoded", "Pairs", "additions", "dates", "encode"]

MARKER = 0  # begins and ends a target; pads both sides

_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip
_FORMATS: tuple[Callable[[datetime.date, str, str], str], ...] = (
    lambda d, day, month: f"{day}, {d.day} {month} {d.year}",
    lambda d, day, month: f"{month} {d.day}, {d.year}",
    lambda d, day, month: f"{day[:3]} {d.day} {month[:3]} {d.year}",
    lambda d, day, month: f"{d.year} {month[:3]} {d.day:02}",
    lambda d, day, month: f"{d.day}.{d.month}.{d.year}",
    lambda d, day, month: f"{d.day:02}/{d.month:02}/{d.year}",
    lambda d, day, month: f"the {d.day} of {month.lower()}, {d.year}",
)


class Pairs(NamedTuple):
    """Sources and targets, those to train on first; and how many these are."""

    sources: list[str]
    targets: list[str]
    train: int


class Encoded(NamedTuple):
    """Strings as ids, time first, padded with the marker.

    sources ``int[S, N]`` with ``source_lengths int[N]``; targets ``int[T + 1, N]``, the marker
    before and after each, with ``target_lengths int[N]`` of the steps to predict.
    """

    sources: Array
    source_lengths: Array
    targets: Array
    target_lengths: Array

    def part(self, rows: slice | Array) -> Encoded:
        """Some of the pairs."""
        return Encoded(*(side[..., rows] for side in self))


def dates(rng: np.random.Generator, count: int) -> Pairs:
    """Dates of 1900 … 2099 in seven formats, to ISO 8601; no date to test on is trained on.

    Example:
      >>> pairs = dates(np.random.default_rng(0), 100)
      >>> len(pairs.sources), pairs.train, pairs.targets[0] in pairs.targets[90:]
      (100, 90, False)
    """
    first = datetime.date(1900, 1, 1).toordinal()
    every = rng.permutation(np.arange(first, datetime.date(2100, 1, 1).toordinal()))
    train = count * 9 // 10
    cut = len(every) * 9 // 10
    chosen = [*rng.choice(every[:cut], train), *rng.choice(every[cut:], count - train)]
    days = [datetime.date.fromordinal(int(day)) for day in chosen]
    sources = [
        _FORMATS[which](day, _DAYS[day.weekday()], _MONTHS[day.month - 1])
        for day, which in zip(days, rng.integers(0, len(_FORMATS), count), strict=True)
    ]
    return Pairs(sources, [day.isoformat() for day in days], train)


def additions(rng: np.random.Generator, count: int) -> Pairs:
    """Sums of two numbers of up to three digits, the question written backwards.

    As in Keras' example: each number has one to three digits with equal chance, and no pair of
    numbers comes twice, in whichever order.

    Example:
      >>> pairs = additions(np.random.default_rng(0), 100)
      >>> a, b = pairs.sources[0][::-1].split("+")
      >>> int(a) + int(b) == int(pairs.targets[0])
      True
    """
    seen: set[tuple[int, int]] = set()
    sources: list[str] = []
    targets: list[str] = []
    while len(sources) < count:
        a, b = (int(rng.integers(0, 10**digits)) for digits in rng.integers(1, 4, 2))
        if (min(a, b), max(a, b)) not in seen:
            seen.add((min(a, b), max(a, b)))
            sources.append(f"{a}+{b}"[::-1])
            targets.append(str(a + b))
    return Pairs(sources, targets, count * 9 // 10)


TASKS = {"dates": dates, "addition": additions}


def encode(pairs: Pairs) -> tuple[Encoded, str, str]:
    """The pairs as ids, and the characters that ids 1, 2, … stand for on either side.

    Example:
      >>> encoded, _, characters = encode(Pairs(["ab", "c"], ["x", "yx"], 1))
      >>> encoded.sources.T.tolist(), encoded.targets.T.tolist(), characters
      ([[1, 2], [3, 0]], [[0, 1, 0, 0], [0, 2, 1, 0]], 'xy')
    """
    source_chars, target_chars = (
        "".join(sorted(set("".join(side)))) for side in (pairs.sources, pairs.targets)
    )
    sources, source_lengths = _ids(pairs.sources, source_chars)
    targets, target_lengths = _ids(pairs.targets, target_chars)
    targets = np.pad(targets, ((1, 1), (0, 0)), constant_values=MARKER)
    sides = sources, source_lengths, targets, target_lengths + 1
    return Encoded(*map(jnp.asarray, sides)), source_chars, target_chars


def _ids(strings: Sequence[str], characters: str) -> tuple[np.ndarray, np.ndarray]:
    ids = {c: i for i, c in enumerate(characters, 1)}
    lengths = np.array([len(s) for s in strings])
    padded = np.full((lengths.max(), len(strings)), MARKER)
    for column, string in enumerate(strings):
        padded[: len(string), column] = [ids[c] for c in string]
    return padded, lengths
