"""Texts sampled from the model of a run."""

from __future__ import annotations

import warnings

import jax
import jax.numpy as jnp
import numpy as np

from rnn_jax import text
from rnn_jax.generation import generate
from rnn_jax.host.checks import not_negative, positive
from rnn_jax.runs.config import TrainConfig
from rnn_jax.runs.memory import check_bytes
from rnn_jax.runs.units import Units
from rnn_jax.types import Model, Params

__all__ = ["sample_texts"]

_ROWS, _ROUNDS = 32, 20  # rows drawn at once, and how often at the most
# A fresh model of very many words ends none of the rows of three rounds; the further ones would
# take minutes, at 300,000 words, and end none either.
_LARGE, _HOPELESS = 2**16, 3
_MIN_LENGTH = 7


def sample_texts(
    model: Model,
    params: Params,
    vocabulary: text.Vocabulary,
    config: TrainConfig,
    *,
    count: int = 10,
    prefix: str = "",
    length: int = 60,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_length: int | None = None,
    seed: int = 0,
) -> list[str]:
    """Sentences where the run's text has sentences, else continuations of ``prefix``.

    A sentence is drawn word by word from its start marker (and the prefix), never the unknown
    word, until its end marker; one of fewer than ``min_length`` words, or without an end after
    ``length`` words, is drawn anew, so often (20 rounds of 32 and more; three where none has ended
    and there are more than 65,536 words). Should too few come, the longest of the others fill up,
    an endless one with an ellipsis.

    Args:
      model: the run's model.
      params: its parameters.
      vocabulary: its vocabulary.
      config: its configuration, which says how a prefix is tokenised and tokens are joined.
      count: how many texts.
      prefix: how each of them begins.
      length: tokens at most (sentences) or exactly (continuations), without the prefix.
      temperature: of the draws; 0 is the arg-max.
      top_k: draw only from the k most probable tokens.
      top_p: draw only from the most probable tokens that together have this probability.
      min_length: words of a sentence at least, the prefix counted; continuations have none. None is
        7, or ``length`` if that is less.
      seed: of the draws.

    Raises:
      ValueError: an option out of its range, ``min_length`` above ``length``, or a prefix of which
        nothing is left or that has characters the model has never seen. Words it has never seen are
        read as its unknown word, with a warning.
    """
    positive(count=count, length=length)
    for name, size in (("count", count), ("length", length)):
        if size >= 2**31 - 1:
            raise ValueError(f"{name} must be below 2**31 - 1, not {size}")
    if min_length is None:
        min_length = min(_MIN_LENGTH, length)
    not_negative(min_length=min_length)
    if min_length > length:
        raise ValueError(
            f"min_length {min_length} exceeds the length {length}: lower the one or raise the other"
        )
    sentences = config.from_sentences
    units = Units(config, vocabulary)
    shown = units.tokens(prefix)
    _check_known(prefix, shown, vocabulary, config)
    head = [text.SENTENCE_START, *shown] if sentences else shown or [units.neutral]
    ids = jnp.asarray(vocabulary.encode(head))
    stop = vocabulary.id(text.SENTENCE_END) if sentences else None
    barred = [vocabulary.unknown] if vocabulary.unknown is not None else []
    if sentences:
        barred.append(vocabulary.id(text.SENTENCE_START))
    rows = max(count, _ROWS) if sentences else count
    check_bytes(4 * rows * (length + len(vocabulary)), f"{count:,} texts of {length:,} tokens take")
    good: list[list[str]] = []
    rest: list[list[str]] = []
    ends = not sentences
    key = jax.random.key(seed)
    for turn in range(_ROUNDS):
        _, drawn = generate(
            model,
            params,
            None,
            jnp.broadcast_to(ids[:, None], (len(head), rows)),
            length=length + sentences,  # the end marker is no word
            key=jax.random.fold_in(key, turn),
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            forbidden=tuple(barred),
            stop=stop,
        )
        for row in np.asarray(drawn).T.tolist():
            ended = stop in row
            ends = ends or ended
            words = row[: row.index(stop)] if ended else row[:length]
            tokens = shown + vocabulary.decode(words)
            fine = not sentences or (ended and len(tokens) >= min_length)
            (good if fine else rest).append(tokens if ended or not sentences else [*tokens, "…"])
        hopeless = not ends and turn + 1 >= _HOPELESS and len(vocabulary) > _LARGE
        if len(good) >= count or temperature == 0 or hopeless:
            break
    rest.sort(key=len, reverse=True)
    return [units.joined(tokens) for tokens in (good + rest)[:count]]


def _check_known(
    prefix: str, tokens: list[str], vocabulary: text.Vocabulary, config: TrainConfig
) -> None:
    if prefix and not tokens:
        raise ValueError(f"nothing of the prefix {prefix!r} is left to begin with: give it letters")
    strange = [token for token in dict.fromkeys(tokens) if token not in vocabulary]
    if not strange:
        return
    named = ", ".join(map(repr, strange[:5])) + (", …" if len(strange) > 5 else "")
    # Words that a training text has and the vocabulary lacks train the unknown word. Characters are
    # nearly always all in the vocabulary, and nothing has trained what stands for others.
    if config.unit != "word" or vocabulary.unknown is None:
        raise ValueError(
            f"the prefix has tokens that the model has never seen ({named}): leave them out"
        )
    warnings.warn(f"the model does not know {named} and reads the unknown word there", stacklevel=3)
