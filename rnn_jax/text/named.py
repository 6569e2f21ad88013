"""Corpora that are known by name: where they are looked for, and what tells them from others."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from rnn_jax.host.files import reason
from rnn_jax.text.cache import cache_folder
from rnn_jax.text.download import fetch

__all__ = ["NAMED_CORPORA", "NamedCorpus", "named_file"]


@dataclass(frozen=True)
class NamedCorpus:
    """A corpus known by name.

    Args:
        name: its name on the command line.
        filename: its name in $RNN_JAX_DATA, ``data/`` and the cache.
        url: where to download it from, or None if it has to be put in place by hand.
        sha256: the hash of the file.
        bytes: the length of the file.
        licence: the terms of use.
    """

    name: str
    filename: str
    url: str | None
    sha256: str
    bytes: int
    licence: str


NAMED_CORPORA = {
    corpus.name: corpus
    for corpus in (
        NamedCorpus(
            "comments-sample",
            "comments-sample.csv",
            None,
            "fb75a589b492e1714817281c2174810e8179d4456b54073b4d721035cc8ddf8e",
            17606,
            "Apache-2.0",
        ),
        NamedCorpus(
            "time-machine",
            "time-machine.txt",
            "http://d2l-data.s3-accelerate.amazonaws.com/timemachine.txt",
            "8424dbd9532ac81f7e5f0b6add90e6952baea29158309d7d1bf3884f4e12c516",
            178979,
            "public domain",
        ),
        NamedCorpus(
            "tiny-shakespeare",
            "tiny-shakespeare.txt",
            "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
            "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
            1115394,
            "public domain",
        ),
        NamedCorpus(
            "war-and-peace",
            "war-and-peace.txt",
            None,
            "dff5d95d71e419da1ce4b619c164c31b21499b82e157a7878f8c375e6b372665",
            3274217,
            "public domain",
        ),
    )
}


def _find(named: NamedCorpus) -> Path:
    package = Path(__file__).parents[1]
    chosen = os.environ.get("RNN_JAX_DATA")
    folders = [Path(chosen)] if chosen else []
    # The last one is where an installed package keeps the sample.
    folders += [Path("data"), package.parent / "data", package / "data"]
    for folder in folders:
        if os.path.exists(folder / named.filename):
            return folder / named.filename
    if named.url is None:
        raise ValueError(
            f"the corpus {named.name} cannot be downloaded, because no address serves exactly this "
            f"file: put {named.filename} (sha256 {named.sha256}) into the folder $RNN_JAX_DATA, or "
            "give --corpus the path of your own copy"
        )
    cached = cache_folder() / named.filename
    if not _is_intact(cached, named.sha256):
        fetch(named.url, named.sha256, cached, size=named.bytes)
    return cached


def _is_intact(path: Path, sha256: str) -> bool:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() == sha256
    except OSError:
        return False


def named_file(named: NamedCorpus) -> Path:
    """The file of a named corpus, downloaded if need be.

    Raises:
        ValueError: it is another file, cannot be read, or cannot be downloaded.
    """
    path = _find(named)
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ValueError(
            f"--corpus {named.name} cannot be read ({reason(error)}); give a file that can be read"
        ) from error
    if digest != named.sha256:
        raise ValueError(
            f"{path} is not the corpus {named.name}: its sha256 is {digest}, not {named.sha256}; "
            "remove it, or give another file's path to --corpus"
        )
    return path
