"""From a configuration to the token file of its text."""

from __future__ import annotations

import os
from collections.abc import Sequence

from rnn_jax import text
from rnn_jax.host.files import Row
from rnn_jax.host.options import flag
from rnn_jax.runs.config import TrainConfig
from rnn_jax.runs.sentences import SentenceRange
from rnn_jax.runs.streams import Stream
from rnn_jax.text.places import DocumentPlaces
from rnn_jax.text.sifting import sifted
from rnn_jax.text.token_file import SUFFIX, TokenFile
from rnn_jax.text.tokenizing import Progress

__all__ = ["Part", "Progress", "left_out", "part_of", "tokens_of"]

Part = Stream | SentenceRange

# What the ids of a token file depend on beside its text.
_READING = ("level", "sentences", "letters_only", "glue_lines", "language")


def tokens_of(
    config: TrainConfig,
    *,
    corpus: str | Sequence[str] | None = None,
    vocabulary: text.Vocabulary | None = None,
    processes: int | None = 1,
    progress: Progress | None = None,
) -> TokenFile:
    """The tokens of a configuration's text, or of another one that is read in the same way.

    Args:
        config: the configuration.
        corpus: another text.
        vocabulary: that of an existing run; by default one is made of the text.
        processes: how many tokenise, as for `tokenize_source`.
        progress: called now and then with the bytes read and their total.

    Raises:
        ValueError: no such corpus; or a token file that does not fit.
    """
    chosen = config.corpora if corpus is None else corpus
    names = (chosen,) if isinstance(chosen, str) else tuple(chosen)
    made = [name for name in names if name.endswith(SUFFIX)]
    if made and len(names) > 1:
        raise ValueError(f"{made[0]} is a whole text in tokens: give it alone")
    if made:
        tokens = TokenFile.open(os.path.expanduser(made[0]))
        _check(tokens, config)
        if vocabulary is not None:
            tokens.expect(vocabulary=vocabulary)
    else:
        tokens = text.cached_tokens(
            names,
            config.tokenizing,
            column=config.column,
            vocabulary=vocabulary,
            processes=processes,
            progress=progress,
        )
    if config.from_sentences:
        for marker in (text.SENTENCE_START, text.SENTENCE_END):
            if marker not in tokens.vocabulary:
                raise ValueError(
                    f"the vocabulary of {len(tokens.vocabulary)} tokens lacks {marker}; "
                    "choose a larger --vocab-size"
                )
    if config.max_length is not None:
        with_markers = config.max_length + 2
        everything = _limited(tokens, config.max_sentences)
        tokens = sifted(tokens, with_markers, sentences=config.max_sentences)
        if not tokens.sentence_count:
            raise ValueError(
                f"--max-length {config.max_length} leaves out all {everything:,} sentences: "
                "make it larger"
            )
    return tokens


def left_out(tokens: TokenFile) -> int:
    """The sentences of the text that are not in the file, for they are too long."""
    return int(tokens.description["source"].get("left_out", 0))


def part_of(config: TrainConfig, tokens: TokenFile) -> Part:
    """What a configuration takes of a token file, as sentences or as one stream."""
    if config.in_sentences:
        return SentenceRange(tokens, 0, _limited(tokens, config.max_sentences))
    stop = len(tokens)
    if config.from_sentences:
        sentences = _limited(tokens, config.max_sentences)
        stop = int(tokens.read_sentences(sentences, sentences + 1)[0])
    if config.max_tokens is not None:
        stop = min(stop, config.max_tokens)
    return Stream(tokens, 0, stop, DocumentPlaces(tokens) if config.reset_at_documents else None)


def _limited(tokens: TokenFile, most: int | None) -> int:
    return tokens.sentence_count if most is None else min(most, tokens.sentence_count)


def _check(tokens: TokenFile, config: TrainConfig) -> None:
    """Raise ValueError unless a token file was made by the settings of a configuration."""
    wanted = config.tokenizing.settings()
    names = [*_READING, *(["tokenizer_sha256"] if wanted["level"] == "file" else [])]
    differ = [name for name in names if tokens.settings.get(name) != wanted[name]]
    if differ == ["sentences"]:  # of which a run has no flag: its level and batching say it
        what = "sentences" if wanted["sentences"] else "a stream"
        raise ValueError(
            f"the token file {tokens.path} is not of {what}, as this run reads its text: tokenise "
            f"it again with {_said('sentences', wanted)}, or choose another --batching"
        )
    differ = [name for name in differ if name != "sentences"]
    if differ:
        made = ", ".join(_said(name, tokens.settings) for name in differ)
        here = ", ".join(_said(name, wanted) for name in differ)
        raise ValueError(
            f"the token file {tokens.path} was made with {made}, and this run reads its text with "
            f"{here}: give the settings of the file, or tokenise the text again"
        )
    size = config.vocab_size
    if size is not None and size != len(tokens.vocabulary):
        raise ValueError(
            f"the token file {tokens.path} has a vocabulary of {len(tokens.vocabulary):,} tokens, "
            f"not --vocab-size {size}: leave that out, or tokenise the text again"
        )


def _said(name: str, settings: Row) -> str:
    """A setting as a flag."""
    value = settings.get(name)
    if name == "tokenizer_sha256":
        return f"the tokenizer.json of SHA-256 {str(value)[:12]}…"
    if isinstance(value, bool):
        return flag(name) if value else flag(f"no_{name}")
    return f"{flag(name)} {value}"
