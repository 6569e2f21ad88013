"""Sampled texts on a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["shown"]

_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def shown(texts: Iterable[str]) -> str:
    r"""The texts one after the other, with escapes in place of what would command a terminal.

    A model of bytes or characters writes whatever it has read, or not yet learned not to write.

    Example:
      >>> print(shown(["two\nlines", "a \x1b[2J"]))
      two
      lines
      a \x1b[2J
    """
    return _CONTROLS.sub(lambda found: f"\\x{ord(found[0]):02x}", "\n".join(texts))
