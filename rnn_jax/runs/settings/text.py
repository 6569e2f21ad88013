"""What is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from rnn_jax.host.options import Options, option
from rnn_jax.text import LANGUAGES

__all__ = ["TextSettings"]


@dataclass(frozen=True)
class TextSettings(Options):
    """The text, its tokens, and the part of it that is held out."""

    section: ClassVar[str] = "Text"

    corpus: str = option(
        "python-docs",
        "Name of a corpus (python-docs, comments-sample, time-machine, tiny-shakespeare, "
        "war-and-peace) or path of a file, a folder or a pattern: .txt .csv .tsv .jsonl .parquet, "
        "and with .gz .xz .zst behind.",
    )
    column: str = option("body", "Column of a table, or key of a record, that holds the text.")
    max_sentences: int | None = option(
        None, "Use only the first so many sentences (the vocabulary is that of all)."
    )
    max_tokens: int | None = option(
        None, "Use only the first so many tokens of a stream (the vocabulary is that of all)."
    )
    level: Literal["word", "char"] = option("word", "Unit of the text.")
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
    held_out: float = option(0.1, "Last part of the text to evaluate on; 0: on the training text.")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(1, "max_sentences", "max_length")
        self.at_least(2, "max_tokens", "vocab_size")
        self.fraction("held_out")
        self.one_of("language", LANGUAGES)
