"""A text as the tokens of a run's level, and tokens as text again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from rnn_jax import text
from rnn_jax.runs.config import TrainConfig
from rnn_jax.text.numbering import subwords

__all__ = ["Units"]


@dataclass(frozen=True)
class Units:
    """How a run makes tokens of a text, and a text of tokens.

    Example:
      >>> units = Units(TrainConfig(level="byte"), text.byte_vocabulary())
      >>> units.tokens("é"), units.joined(units.tokens("é"))
      (['Ã', '©'], 'é')
    """

    config: TrainConfig
    vocabulary: text.Vocabulary

    def tokens(self, shown: str) -> list[str]:
        """A text, read as the run's own was."""
        config = self.config
        if config.letters_only:
            shown = text.normalize_letters(shown)
        if config.unit == "byte":
            return list(shown.encode("utf-8", "surrogatepass").decode("latin-1"))
        if config.unit == "subword":
            ids = self._subwords.encode(shown, add_special_tokens=False).ids
            return [self.vocabulary.tokens[i] for i in ids]
        if config.unit == "character":
            return list(shown)
        return shown.split() if config.letters_only else text.tokenize_words(shown.lower())

    def joined(self, tokens: Sequence[str]) -> str:
        """The text that tokens make; what of bytes is no UTF-8 is marked."""
        if self.config.unit == "subword":
            return str(self._subwords.decode(self.vocabulary.encode(tokens).tolist()))
        if self.config.unit == "byte":
            return "".join(tokens).encode("latin-1").decode("utf-8", "replace")
        return ("" if self.config.unit == "character" else " ").join(tokens)

    @property
    def neutral(self) -> str:
        """What a continuation of nothing starts from: a line's end, a space, a common token."""
        if self.config.unit != "subword":
            tokens = self.vocabulary.tokens
            return next((t for t in ("\n", " ") if t in self.vocabulary), tokens[1])
        unknown = self.vocabulary.unknown
        known = (
            token
            for blank in ("\n", " ", "a")
            for token in self.tokens(blank)
            if unknown is None or token != self.vocabulary.tokens[unknown]
        )
        return next(known, self.vocabulary.tokens[-1])

    @cached_property
    def _subwords(self) -> Any:
        return subwords(self.config.level.partition(":")[2])
