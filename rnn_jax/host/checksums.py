"""Checksums: files that were damaged are noticed when they are read."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from rnn_jax.host.files import Row

__all__ = ["checksum", "checksum_of_json", "sealed", "unsealed"]

_KEY = "checksum"


def checksum(*parts: bytes | memoryview) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of all parts, one after the other.

    Example:
        >>> checksum(b"ab", b"c") == checksum(b"abc"), checksum(b"abc")
        (True, 'ba7816bf8f01cfea')
    """
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()[:16]


def checksum_of_json(content: Any) -> str:
    """The checksum of what JSON keeps of a value, however a file lays it out."""
    return checksum(json.dumps(content, sort_keys=True).encode())


def sealed(content: Row) -> Row:
    """A JSON object with the checksum of all its entries as its last one.

    Example:
        >>> unsealed(sealed({"loss": 4.5}))
        {'loss': 4.5}
    """
    return {**content, _KEY: checksum_of_json(content)}


def unsealed(content: Row) -> Row:
    """The object that `sealed` was given; one without a checksum, of an older file, passes.

    Raises:
        ValueError: the entries are not those of the checksum.

    Example:
        >>> unsealed({**sealed({"loss": 4.5}), "loss": 4.6})
        Traceback (most recent call last):
        ValueError: its entries do not have its checksum
    """
    rest = {name: value for name, value in content.items() if name != _KEY}
    if _KEY in content and content[_KEY] != checksum_of_json(rest):
        raise ValueError("its entries do not have its checksum")
    return rest
