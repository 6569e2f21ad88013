"""What is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rnn_jax.host.options import Options, option
from rnn_jax.text import LANGUAGES, Tokenizing

__all__ = ["TextSettings"]

_HELD_OUT = 0.1


@dataclass(frozen=True)
class TextSettings(Options):
    """The text, its tokens, and the part of it that is held out."""

    section: ClassVar[str] = "Text"
    alternatives: ClassVar[tuple[tuple[str, str], ...]] = (("held_out", "valid"),)

    corpus: str | tuple[str, ...] = option(
        "python-docs",
        "Name of a corpus (python-docs, comments-sample, time-machine, tiny-shakespeare, "
        "war-and-peace) or path of a file, a folder or a pattern: .txt .csv .tsv .jsonl .parquet, "
        "and with .gz .xz .zst behind; or of what rnn-jax tokenize has written, .tokens. May be "
        "given several times.",
    )
    valid: str | None = option(
        None, "Another text to evaluate on, named as --corpus, in place of --held-out."
    )
    test: str | None = option(
        None, "A third text, evaluated once, at the end, with the best parameters."
    )
    column: str = option("body", "Column of a table, or key of a record, that holds the text.")
    max_sentences: int | None = option(
        None, "Use only the first so many sentences (the vocabulary is that of all)."
    )
    max_tokens: int | None = option(
        None, "Use only the first so many tokens of a stream (the vocabulary is that of all)."
    )
    level: str = option(
        "word", "Unit of the text: word, char, byte, or file:tokenizer.json for your own subwords."
    )
    letters_only: bool = option(False, "Lower-case, every run of non-letters one space.")
    glue_lines: bool = option(
        False,
        "With --letters-only and --level char: nothing between lines, as D2L's figures need it.",
    )
    max_length: int | None = option(
        None, "Longest sentence in tokens; longer ones are left out, and counted."
    )
    language: str = option("english", f"Language of the sentence splitter: {', '.join(LANGUAGES)}.")
    vocab_size: int | None = option(
        None, "Tokens in the vocabulary; default: min(8000, distinct tokens)."
    )
    held_out: float | None = option(
        None,
        f"Last part of the text to evaluate on; 0: on the training text; default: {_HELD_OUT}, "
        "unless --valid is given.",
    )

    def __post_init__(self) -> None:
        if isinstance(self.corpus, list | tuple):
            several = tuple(self.corpus)
            object.__setattr__(self, "corpus", several[0] if len(several) == 1 else several)
        super().__post_init__()
        if not self.corpus:
            raise ValueError("--corpus names nothing; give a file or a folder")
        if self.held_out is None and self.valid is None:
            object.__setattr__(self, "held_out", _HELD_OUT)
        self.at_least(1, "max_sentences", "max_length")
        self.at_least(2, "max_tokens", "vocab_size")
        self.fraction("held_out")
        self.one_of("language", LANGUAGES)
        Tokenizing(level=self.level)

    @property
    def corpora(self) -> tuple[str, ...]:
        """All that ``corpus`` names."""
        return (self.corpus,) if isinstance(self.corpus, str) else self.corpus

    @property
    def corpus_shown(self) -> str:
        """What ``corpus`` names, in a few words."""
        first, *others = self.corpora
        return f"{first} and {len(others)} more" if others else first

    @property
    def evaluated_text(self) -> str:
        """What a run is evaluated on."""
        if self.valid is not None:
            return self.valid
        return "held-out text" if self.held_out else "training text"

    @property
    def unit(self) -> str:
        """What a token is."""
        return {"word": "word", "char": "character", "byte": "byte"}.get(self.level, "subword")
