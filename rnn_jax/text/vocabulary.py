"""Vocabularies: the mapping between tokens and ids."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rnn_jax.host.files import atomic_path, reason

UNKNOWN_TOKEN = "UNKNOWN_TOKEN"
SENTENCE_START = "SENTENCE_START"
SENTENCE_END = "SENTENCE_END"

_FORMAT = "rnn_jax vocabulary 1"


@dataclass(frozen=True)
class Vocabulary:
    """A model's tokens in the order of their ids.

    Args:
        tokens: V different tokens; the id of a token is its index.
        unknown: the id that stands for every token not listed, or None if there is none.

    Raises:
        ValueError: a token occurs twice, or ``unknown`` is not one of the ids.

    Example:
        >>> v = Vocabulary(("a", "b", "<unk>"), unknown=2)
        >>> v.encode(["b", "z"]).tolist(), v.decode([0, 1]), len(v), "z" in v
        ([1, 2], ['a', 'b'], 3, False)
    """

    tokens: tuple[str, ...]
    unknown: int | None = None

    def __post_init__(self) -> None:
        if len(self._ids) != len(self.tokens):
            twice, _ = Counter(self.tokens).most_common(1)[0]
            raise ValueError(f"the vocabulary lists {twice!r} twice; list every token once")
        if self.unknown is not None and not 0 <= self.unknown < len(self.tokens):
            raise ValueError(
                f"the unknown id {self.unknown} is not in the vocabulary, whose ids are "
                f"0 to {len(self.tokens) - 1}"
            )

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {token: i for i, token in enumerate(self.tokens)}

    def __len__(self) -> int:
        return len(self.tokens)

    def __contains__(self, token: object) -> bool:
        return token in self._ids

    def id(self, token: str) -> int:
        """The id of one token; raises ValueError as :meth:`encode` does."""
        token_id = self._ids.get(token, self.unknown)
        if token_id is None:
            raise ValueError(
                f"{token!r} is not in the vocabulary of {len(self)} tokens, which has no unknown "
                "token; leave it out"
            )
        return token_id

    def encode(self, tokens: Iterable[str]) -> NDArray[np.int32]:
        """Tokens to ids.

        Args:
            tokens: T tokens; a plain string counts as its characters.

        Returns:
            int32[T].

        Raises:
            ValueError: a token is not in the vocabulary and there is no unknown id.
        """
        return np.fromiter(map(self.id, tokens), np.int32)

    def decode(self, ids: ArrayLike) -> list[str]:
        """Ids to tokens.

        Args:
            ids: int[T].

        Returns:
            T tokens.

        Raises:
            ValueError: an id is negative or not below V.
        """
        array = np.asarray(ids).reshape(-1)
        bad = array[(array < 0) | (array >= len(self))]
        if bad.size:
            raise ValueError(
                f"token id {bad[0]} is outside the vocabulary, whose ids are 0 to {len(self) - 1}"
            )
        return [self.tokens[i] for i in array.tolist()]

    def save(self, path: str | Path) -> None:
        """Write the vocabulary as JSON, one token per line, whole or not at all.

        Raises:
            ValueError: the folder cannot be written to.
        """
        content = {"format": _FORMAT, "unknown": self.unknown, "tokens": self.tokens}
        try:
            with atomic_path(Path(path)) as temporary:
                # surrogatepass: Python text may contain lone surrogates, which UTF-8 cannot encode.
                text = json.dumps(content, ensure_ascii=False, indent=0) + "\n"
                temporary.write_bytes(text.encode("utf-8", "surrogatepass"))
        except OSError as error:
            raise ValueError(
                f"the vocabulary cannot be written to {path} ({reason(error)}); "
                "choose a writable folder"
            ) from error

    @classmethod
    def load(cls, path: str | Path) -> Vocabulary:
        """Read what :meth:`save` wrote.

        Raises:
            ValueError: the file is missing, broken, or not a vocabulary.
        """
        try:
            content = json.loads(Path(path).read_bytes().decode("utf-8", "surrogatepass"))
        except OSError as error:
            raise ValueError(
                f"the vocabulary {path} cannot be read ({reason(error)}); name one saved by rnn_jax"
            ) from error
        except ValueError as error:
            raise ValueError(
                f"{path} is not a vocabulary saved by rnn_jax: it is not JSON; save it again"
            ) from error
        tokens = content.get("tokens") if isinstance(content, dict) else None
        if (
            not isinstance(tokens, list)
            or content.get("format") != _FORMAT
            or not all(isinstance(token, str) for token in tokens)
            or type(content.get("unknown")) not in (int, type(None))
        ):
            raise ValueError(
                f"{path} is not a vocabulary saved by rnn_jax: format, tokens or unknown is "
                "missing or malformed; save it again"
            )
        try:
            return cls(tuple(tokens), content["unknown"])
        except (ValueError, KeyError) as error:
            raise ValueError(f"the vocabulary {path} is broken: {error}") from error


def reference_vocabulary(counts: Counter[str], size: int | None = None) -> Vocabulary:
    """The ``size - 1`` most frequent words, then UNKNOWN_TOKEN.

    Words of equal frequency keep their order in ``counts``. A corpus has D + 1 tokens: its D
    distinct words (including the two sentence markers, if they are counted) and UNKNOWN_TOKEN.

    Args:
        counts: how often each word occurs.
        size: V; by default 8000, or D + 1 if that is less.

    Returns:
        A vocabulary of ``size`` tokens, the last of which is UNKNOWN_TOKEN.

    Raises:
        ValueError: ``size`` is below 2 or above D + 1.

    Example:
        >>> reference_vocabulary(Counter("abracadabra"), 4).tokens
        ('a', 'b', 'r', 'UNKNOWN_TOKEN')

    Reference:
        Britz, Recurrent Neural Networks Tutorial, part 2, wildml.com, 2015.
    """
    words = [word for word, _ in counts.most_common() if word != UNKNOWN_TOKEN]
    most = len(words) + 1
    if not words:
        raise ValueError("a vocabulary needs at least one word; use a larger corpus")
    if size is None:
        size = min(8000, most)
    if not 2 <= size <= most:
        raise ValueError(
            f"--vocab-size {size} does not fit: the corpus has {most} tokens ({most - 1} distinct "
            f"and {UNKNOWN_TOKEN}), so choose 2 to {most}"
        )
    return Vocabulary((*words[: size - 1], UNKNOWN_TOKEN), unknown=size - 1)


def frequency_vocabulary(
    counts: Counter[str], *, min_frequency: int = 0, reserved: Sequence[str] = ()
) -> Vocabulary:
    """``<unk>``, then the reserved tokens, then the others by decreasing frequency.

    Args:
        counts: how often each token occurs; tokens of equal frequency keep their order here.
        min_frequency: rarer tokens are left out.
        reserved: tokens that are in the vocabulary whether or not they occur.

    Returns:
        A vocabulary whose unknown id is 0.

    Raises:
        ValueError: ``min_frequency`` is negative.

    Example:
        >>> frequency_vocabulary(Counter("abracadabra"), min_frequency=2, reserved=["<pad>"]).tokens
        ('<unk>', '<pad>', 'a', 'b', 'r')

    Reference:
        Zhang et al., Dive into Deep Learning, section 9.2.
    """
    if min_frequency < 0:
        raise ValueError(f"min_frequency {min_frequency} is negative; use 0 to keep every token")
    frequent = [token for token, n in counts.most_common() if n >= min_frequency]
    return Vocabulary(tuple(dict.fromkeys(["<unk>", *reserved, *frequent])), unknown=0)


def most_frequent(found: Vocabulary, size: int | None = None) -> Vocabulary:
    """The first ``size`` tokens of a vocabulary by frequency.

    Args:
        found: from `frequency_vocabulary`.
        size: V; by default 8000, or all if there are fewer.

    Raises:
        ValueError: there are fewer than ``size`` tokens.

    Example:
        >>> most_frequent(frequency_vocabulary(Counter("abracadabra")), 3).tokens
        ('<unk>', 'a', 'b')
    """
    size = min(8000, len(found)) if size is None else size
    if size > len(found):
        raise ValueError(
            f"--vocab-size {size} does not fit: the corpus has {len(found)} tokens ("
            f"{found.tokens[0]} among them), so choose 2 to {len(found)}"
        )
    return Vocabulary(found.tokens[:size], found.unknown)


def byte_vocabulary() -> Vocabulary:
    """The 256 bytes: token i is the character of code point i, so that text comes back from them.

    Example:
        >>> tokens = byte_vocabulary().decode(list("é".encode()))
        >>> "".join(tokens).encode("latin-1").decode()
        'é'
    """
    return Vocabulary(tuple(map(chr, range(256))))
