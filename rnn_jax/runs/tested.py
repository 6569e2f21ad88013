"""What a run keeps of its evaluation on the text of ``--test``."""

from __future__ import annotations

import json
import os
from pathlib import Path

from rnn_jax.host.files import Row

__all__ = ["TEST", "figures_of_test"]

TEST = "test.json"


def figures_of_test(path: str | os.PathLike[str]) -> Row:
    """The figures in the folder of a run; empty where there are none that can be read."""
    try:
        figures = json.loads((Path(path) / TEST).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return figures if isinstance(figures, dict) else {}
