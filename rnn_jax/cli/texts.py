"""Sampled texts on standard output."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable

__all__ = ["shown"]

_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def shown(texts: Iterable[str]) -> str:
    r"""The texts one after the other; for a terminal, escapes in place of what would command it.

    A model of bytes or characters writes whatever it has read, or not yet learned not to write. A
    file or a pipe gets it as it is.

    Example:
      >>> print(shown(["two\nlines", "of text"]))
      two
      lines
      of text
    """
    joined = "\n".join(texts)
    if not sys.stdout.isatty():
        return joined
    return _CONTROLS.sub(lambda found: f"\\x{ord(found[0]):02x}", joined)
