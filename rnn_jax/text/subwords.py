"""Tokenizers of subwords, as the library tokenizers saves them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from rnn_jax.host.files import reason
from rnn_jax.text.tables import extra

__all__ = ["subword_file", "subwords"]

# By path and hash of the file: those that this process has read.
_LOADED: dict[tuple[str, str], Any] = {}


def subwords(path: str, sha256: str | None = None) -> Any:
    """The `tokenizers.Tokenizer` of a file, which is read once in each process.

    Raises:
        ValueError: the library or the file is missing, or the file is no such tokenizer, or another
            one than it was.
    """
    if sha256 is None or (path, sha256) not in _LOADED:
        if sha256 not in (None, found := subword_file(path)[1]):
            raise ValueError(f"{path} was changed while the text was tokenised: begin again")
        sha256 = found
    return _LOADED[path, sha256]


def subword_file(path: str) -> tuple[str, str]:
    """The path of a tokenizer.json and the SHA-256 of its content, which `subwords` then knows."""
    library: Any = extra("tokenizers", Path(path))
    try:
        content = Path(path).expanduser().read_bytes()
        file = path, hashlib.sha256(content).hexdigest()
        if file in _LOADED:
            return file
        tokenizer = library.Tokenizer.from_str(content.decode())
    except OSError as error:
        raise ValueError(
            f"--level file:{path} cannot be read ({reason(error)}); give the tokenizer.json of "
            "the library tokenizers"
        ) from error
    except Exception as error:  # the library raises nothing more special
        raise ValueError(
            f"{path} is not a tokenizer.json of the library tokenizers ({error}); save it anew"
        ) from error
    if not tokenizer.get_vocab_size():
        raise ValueError(f"{path} is a tokenizer without tokens: train it, and save it anew")
    # What is saved of these is for sentences, and would lose or add to a text.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    _LOADED[file] = tokenizer
    return file
