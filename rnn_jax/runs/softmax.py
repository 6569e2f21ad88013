"""The read-outs that ``--softmax`` names."""

from __future__ import annotations

import itertools
from typing import Literal

from rnn_jax.models import adaptive_softmax, sampled_softmax
from rnn_jax.models.softmax import Softmax

__all__ = ["make_softmax", "parse_softmax"]

_LEAST = 1000  # words from which plain "adaptive" has cutoffs: of fewer there is nothing to save


def parse_softmax(text: str) -> tuple[Literal["full", "adaptive", "sampled"], tuple[int, ...]]:
    """The kind of softmax that a text names, and its numbers.

    Example:
      >>> parse_softmax("adaptive:2000,10000"), parse_softmax("sampled:1024")
      (('adaptive', (2000, 10000)), ('sampled', (1024,)))
    """
    name, colon, written = text.strip().partition(":")
    texts = [number.strip() for number in written.split(",")] if colon else []
    # More digits are no size of anything, and longer to read.
    if all(number.isascii() and number.isdigit() and len(number) < 19 for number in texts):
        numbers = tuple(map(int, texts))
        increasing = all(a < b for a, b in itertools.pairwise((0, *numbers)))
        if name == "full" and not colon:
            return "full", ()
        if name == "adaptive" and increasing:
            return "adaptive", numbers
        if name == "sampled" and increasing and len(numbers) == 1:
            return "sampled", numbers
    raise ValueError(
        f"--softmax {text!r} is not known: write full, adaptive, adaptive:2000,10000 with cutoffs "
        "from 1 on that increase, or sampled:1024 with the number of words to draw, at least 1"
    )


def make_softmax(text: str, vocab_size: int) -> Softmax | None:
    """The read-out for a vocabulary; None for the full softmax.

    Plain ``adaptive`` takes the first twentieth and fourth of the words as cutoffs.

    Raises:
      ValueError: the vocabulary is too small for it.

    Example:
      >>> make_softmax("adaptive", 40_000)
      AdaptiveSoftmax(cutoffs=(2000, 10000), factor=4.0)
    """
    kind, numbers = parse_softmax(text)
    if kind == "full":
        return None
    if kind == "sampled":
        if numbers[0] > vocab_size:
            raise ValueError(
                f"--softmax {text} draws more words than the {vocab_size} of the vocabulary: draw "
                "fewer, or leave it out"
            )
        return sampled_softmax(*numbers)
    if not numbers and vocab_size < _LEAST:
        raise ValueError(
            f"--softmax adaptive is for vocabularies of {_LEAST} words and more, and this one has "
            f"{vocab_size}: leave it out, or name cutoffs of your own below {vocab_size}"
        )
    cutoffs = numbers or (vocab_size // 20, vocab_size // 4)
    if cutoffs[-1] >= vocab_size:
        raise ValueError(
            f"--softmax {text} does not fit a vocabulary of {vocab_size}: the last cutoff must be "
            f"below {vocab_size}"
        )
    return adaptive_softmax(cutoffs)
