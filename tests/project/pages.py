"""The pages of the documentation, and their Python, run as it stands."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

__all__ = ["OTHER_LIBRARIES", "PAGES", "ROOT", "blocks", "of_rnn_jax_alone", "run"]

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# A block whose title begins with one of these needs that library, which the tests do not.
OTHER_LIBRARIES = {
    "PyTorch": "torch",
    "Keras": "keras",
    "Flax": "flax",
    "Haiku": "haiku",
    "Equinox": "equinox",
    "NumPyro": "numpyro",
    "jax2onnx": "jax2onnx",
    "g2p_en": "g2p_en",
}

_BLOCK = re.compile(r'^```python(?: title="([^"]*)")?\n(.*?)^```$', re.DOTALL | re.MULTILINE)


def blocks(page: Path) -> list[tuple[str, str]]:
    """The titles (empty where there is none) and texts of a page's Python."""
    return [(title, text) for title, text in _BLOCK.findall(page.read_text(encoding="utf-8"))]


def of_rnn_jax_alone(page: Path) -> list[str]:
    """The texts of the blocks that need no other library."""
    others = tuple(OTHER_LIBRARIES)
    return [text for title, text in blocks(page) if not title.startswith(others)]


def run(texts: list[str], page: Path) -> str:
    """Run blocks of a page in order, in one namespace; what they print."""
    names: dict[str, object] = {}
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        for text in texts:
            exec(compile(text, str(page), "exec"), names)
    return printed.getvalue()
