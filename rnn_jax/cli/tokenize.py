"""``rnn-jax tokenize``."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from rnn_jax.cli.options import with_options
from rnn_jax.host.files import reason
from rnn_jax.host.locks import Locked
from rnn_jax.text import DEFAULT_CORPUS, TokenFile, Tokenizing, find_source, tokenize_source
from rnn_jax.text.token_file import SUFFIX
from rnn_jax.text.tokenizing import sole_writer

__all__ = ["PROCESSES", "check_processes", "tokenize"]

PROCESSES = (
    "Processes that tokenise; default: one for each core, and one alone for bytes and characters."
)

_EVERY = 2.0  # seconds between two lines of progress


@with_options(Tokenizing)
def tokenize(
    settings: Tokenizing,
    given: set[str],
    corpus: Annotated[
        list[str] | None,
        typer.Option(
            help="Name of a corpus, or path of a file, a folder or a pattern; may be given several "
            "times. Files: .txt .csv .tsv .jsonl .parquet, and with .gz .xz .zst behind."
        ),
    ] = None,
    column: Annotated[
        str, typer.Option(help="Column of a table, or key of a record, that holds the text.")
    ] = "body",
    out: Annotated[str, typer.Option(help="The token file to write, named .tokens.")] = "",
    force: Annotated[bool, typer.Option(help="Replace the file in --out.")] = False,
    processes: Annotated[int | None, typer.Option(help=PROCESSES)] = None,
) -> None:
    """Write a text as tokens into a file, ahead of training and in bounded memory."""
    if not out:
        raise ValueError("--out is missing: name the token file to write, such as text.tokens")
    path = Path(os.path.expanduser(out))
    if path.is_dir():
        raise ValueError(f"--out {out} is a folder: name a file in it, such as text.tokens")
    if path.suffix != SUFFIX:
        raise ValueError(f"--out {out} does not end in {SUFFIX}: name it {path.stem}{SUFFIX}")
    if path.exists() and not force:
        raise ValueError(f"--out {out} exists: choose another name, or --force to replace it")
    check_processes(processes)
    source = find_source(corpus or [DEFAULT_CORPUS], column=column)
    try:
        with sole_writer(path):
            begun = time.monotonic()
            tokenize_source(
                source,
                path,
                settings,
                processes=processes,
                progress=_Lines(),
            )
    except Locked as error:
        raise ValueError(
            f"another process{f' ({error})' if str(error) else ''} writes {out}: wait for it, or "
            "choose another --out"
        ) from None
    except OSError as error:
        raise ValueError(
            f"--out {out} cannot be written ({reason(error)}): choose a writable folder"
        ) from error
    took = time.monotonic() - begun
    with TokenFile.open(path) as tokens:
        sentences, documents = max(0, len(tokens.sentences) - 1), len(tokens.documents)
        parts = [
            f"{len(tokens):,} tokens",
            *([f"{sentences:,} sentences"] if sentences else []),
            f"{documents:,} document{'s' * (documents != 1)}",
            f"vocabulary {len(tokens.vocabulary):,}",
        ]
    rate = source.size / 1e6 / max(took, 1e-9)
    print(f"{source.origin}: {', '.join(parts)}")
    print(f"{out}: {path.stat().st_size / 1e6:,.1f} MB in {took:.1f} s, {rate:.1f} MB/s")


def check_processes(processes: int | None) -> None:
    """Raise ValueError for a number of processes that cannot be."""
    if processes is not None and processes < 1:
        raise ValueError(f"--processes must be at least 1, not {processes}")


class _Lines:
    """A line of progress now and then."""

    def __init__(self) -> None:
        self._begun = self._last = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._last < _EVERY or done >= total:
            return
        self._last = now
        rate = done / 1e6 / (now - self._begun)
        left = (total - done) / 1e6 / max(rate, 1e-9)
        print(
            f"tokenised {done / 1e6:,.0f} of {total / 1e6:,.0f} MB, {rate:.1f} MB/s, "
            f"{left:,.0f} s left",
            file=sys.stderr,
            flush=True,
        )
