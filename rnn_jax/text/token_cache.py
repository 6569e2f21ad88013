"""The token file of a corpus, made once and found again in a moment."""

from __future__ import annotations

import shutil
import tempfile
import time
import warnings
import weakref
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from rnn_jax.host.checksums import checksum_of_json
from rnn_jax.host.files import reason
from rnn_jax.host.locks import Locked
from rnn_jax.text.cache import cache_folder
from rnn_jax.text.sources import find_source
from rnn_jax.text.token_file import SUFFIX, TokenFile
from rnn_jax.text.tokenizing import Progress, Tokenizing, sole_writer, tokenize_source
from rnn_jax.text.vocabulary import Vocabulary

__all__ = ["cached_file", "cached_tokens"]

_PAUSE = 0.2  # seconds between two looks at what another process writes


def cached_tokens(
    corpus: str | Sequence[str],
    settings: Tokenizing,
    *,
    column: str = "body",
    vocabulary: Vocabulary | None = None,
    processes: int | None = 1,
    progress: Progress | None = None,
) -> TokenFile:
    """The token file of a corpus, from the cache where it is there.

    It is found by the paths, sizes and times of the corpus's files, so that none is read; who
    changes a file's content but neither its size nor its time has to empty the cache. Of several
    processes that want the same file one makes it and the others wait. Where the cache folder
    cannot be written to, the file lasts as long as the value that is returned.

    Args:
        corpus: as for `find_source`.
        settings, column, vocabulary, processes, progress: as for `tokenize_source` and
            `find_source`.

    Raises:
        ValueError: as `find_source` and `tokenize_source`.

    Example:
        >>> tokens = cached_tokens("comments-sample", Tokenizing(level="byte"))
        >>> tokens.sha256[:8], bytes(tokens.read(0, 14).tolist())
        ('fb75a589', b"Don't water to")
    """
    source = find_source(corpus, column=column)
    told, identity = settings.settings(), source.identity()

    def path(vocabulary: Vocabulary | None) -> Path:
        words = None if vocabulary is None else (vocabulary.tokens, vocabulary.unknown)
        key = checksum_of_json([told, identity, words])
        return cache_folder() / f"tokens-{key}{SUFFIX}"

    if vocabulary is not None:
        # The file that a run began with, whose vocabulary was made of this very text.
        own = _opened(path(None))
        if own is not None and own.vocabulary == vocabulary:
            return own
    return cached_file(
        path(vocabulary),
        lambda out: tokenize_source(
            source, out, settings, vocabulary=vocabulary, processes=processes, progress=progress
        ),
    )


def cached_file(path: Path, write: Callable[[Path], None]) -> TokenFile:
    """The token file of a path in the cache folder, written where it is not there.

    One process writes and the others wait. Where the folder cannot be written to, the file is
    written elsewhere, and lasts as long as the value that is returned.

    Args:
        path: in the cache folder.
        write: called with the path to write to.
    """

    def made(path: Path) -> TokenFile:
        write(path)
        return TokenFile.open(path)

    while True:
        if (found := _opened(path)) is not None:
            return found
        with ExitStack() as held:
            try:
                held.enter_context(sole_writer(path))
            except Locked:
                time.sleep(_PAUSE)
                continue
            except OSError as error:
                warnings.warn(
                    f"the cache folder {path.parent} cannot be written to ({reason(error)}), so "
                    "the text is processed again in every run; set RNN_JAX_CACHE to a writable "
                    "folder",
                    stacklevel=2,
                )
            else:
                # Another may have made it since we looked.
                return _opened(path) or made(path)
        folder = tempfile.mkdtemp(prefix="rnn_jax-")
        try:
            tokens = made(Path(folder, path.name))
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        weakref.finalize(tokens, shutil.rmtree, folder, ignore_errors=True)
        return tokens


def _opened(path: Path) -> TokenFile | None:
    """The token file of a path, or None if it is not there or, as far as is seen, damaged."""
    try:
        return TokenFile.open(path)
    except ValueError:
        return None
