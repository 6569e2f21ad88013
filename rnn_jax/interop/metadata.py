"""What our safetensors files say beside their tensors: one entry of the metadata, in JSON.

One, because the library writes several in another order in every process, and the files of two
identical runs should be identical.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from rnn_jax.host.checksums import sealed, unsealed
from rnn_jax.interop.checksums import tensor_checksums
from rnn_jax.interop.containers import described

__all__ = ["Notes", "read_notes", "written_notes"]

_KEY = "rnn_jax"


class Notes(NamedTuple):
    """What a file says of its tensors; None for what it does not say.

    checksums: by name, from `tensor_checksums`.
    containers: from `described`.
    beside: what the writer has put beside the tensors, a JSON object.
    """

    checksums: dict[str, Any] | None
    containers: Any
    beside: dict[str, Any] | None = None


def written_notes(
    tree: Any, tensors: Mapping[str, np.ndarray], beside: Mapping[str, Any] | None = None
) -> dict[str, str]:
    """The metadata for a tree, its arrays by name, and what stands beside them."""
    notes = {"checksums": tensor_checksums(tensors), "containers": described(tree)}
    if beside is not None:
        notes["beside"] = dict(beside)
    return {_KEY: json.dumps(sealed(notes))}


def read_notes(metadata: Mapping[str, str]) -> Notes:
    """What the metadata say; those of before they were one entry are read as well.

    Raises:
      ValueError: they are not what was written.
    """
    for key, text in metadata.items():
        content = _object(text)
        # By its content, too: damage to the key must not pass for a file from elsewhere.
        if key == _KEY or {"checksums", "containers"} <= content.keys():
            notes = unsealed(content) if "checksum" in content else {}
            if not isinstance(notes.get("checksums"), dict) or "containers" not in notes:
                raise ValueError("its metadata are broken")
            return Notes(notes["checksums"], notes["containers"], notes.get("beside"))
    # Two entries, or one of them.
    checksums = _object(metadata["checksums"]) if "checksums" in metadata else None
    if "containers" not in metadata:
        return Notes(checksums, None)
    try:
        return Notes(checksums, json.loads(metadata["containers"]))
    except ValueError:
        raise ValueError("its description of containers is broken") from None


def _object(text: str) -> dict[str, Any]:
    """The JSON object in a text; empty where there is none."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
