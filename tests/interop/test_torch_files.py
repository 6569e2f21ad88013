"""PyTorch's files that are damaged, or made to be: a sentence each, and nothing is run."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnn_jax.interop import load_torch, load_torch_model
from rnn_jax.interop.torch_files import read_torch_file

TENSOR = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n"


def archive_of(path: Path, content: Any, compression: int = zipfile.ZIP_STORED) -> Path:
    """A zip archive as PyTorch writes them, around a pickle or its bytes."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        data = content if isinstance(content, bytes) else pickle.dumps(content)
        archive.writestr("archive/data.pkl", data)
    return path


def test_a_pickle_gets_no_names_but_those_of_tensors(tmp_path: Path) -> None:
    harmless = archive_of(tmp_path / "a.pt", {"function": abs, "number": 3})
    with pytest.raises(ValueError, match=r"holds builtins\.abs, which is not read"):
        load_torch(harmless, kind="gru")


def test_a_tensor_is_made_of_a_storage_alone(tmp_path: Path) -> None:
    made = TENSOR + b"(]K\x00K\x01\x85K\x01\x85tR."  # of a list
    with pytest.raises(ValueError, match="it has a tensor in a list and not in a storage"):
        load_torch_model(archive_of(tmp_path / "a.pt", made))
    parameter = b"\x80\x02ctorch._utils\n_rebuild_parameter\n(]tR."
    with pytest.raises(ValueError, match="a parameter that is a list and no tensor"):
        load_torch_model(archive_of(tmp_path / "b.pt", parameter))


def test_a_pickle_sets_no_state(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds state for a function, which is not read"):
        load_torch_model(archive_of(tmp_path / "a.pt", TENSOR + b"}b."))
    # That of a state dict, which PyTorch writes, is passed over.
    state_dict: Any = OrderedDict(a=1)
    state_dict.state_dict = state_dict._metadata = {"": {"version": 1}}
    found = read_torch_file(archive_of(tmp_path / "b.pt", state_dict))
    assert found == {"a": 1} and vars(found) == {}


def test_files_that_are_none_of_pytorch(tmp_path: Path) -> None:
    for content in (b"", b"not a pickle", b"\x80\x02J\x00"):
        with pytest.raises(ValueError, match=r"not a file of torch\.save"):
            load_torch_model(archive_of(tmp_path / "a.pt", content))
    with zipfile.ZipFile(tmp_path / "b.pt", "w") as archive:
        archive.writestr("readme", "no model")
    with pytest.raises(ValueError, match=r"it has no data\.pkl"):
        load_torch_model(tmp_path / "b.pt")
    old = io.BytesIO()
    pickle.dump(1, old, protocol=2)
    (tmp_path / "c.pt").write_bytes(old.getvalue())
    with pytest.raises(ValueError, match=r"PyTorch 1\.6 or later"):
        load_torch_model(tmp_path / "c.pt")
    with pytest.raises(ValueError, match=r"missing\.pt cannot be read: No such file"):
        load_torch_model(tmp_path / "missing.pt")
    (tmp_path / "d.pt").write_bytes(b"x")
    with pytest.raises(ValueError, match="not a readable safetensors file"):
        load_torch_model(tmp_path / "d.pt")


def test_damaged_archives_and_endless_dicts(tmp_path: Path) -> None:
    path = archive_of(tmp_path / "a.pt", {"a": 1})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1  # encrypted, says the table of contents
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"not a file of torch\.save .*encrypted"):
        load_torch_model(path)
    path = archive_of(tmp_path / "b.pt", {"a": 1}, zipfile.ZIP_DEFLATED)
    data = bytearray(path.read_bytes())
    data[30 + len("archive/data.pkl")] = 0xFF  # where the compressed bytes begin
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"not a file of torch\.save"):
        load_torch_model(path)
    itself: dict[str, Any] = {}
    itself["a"] = itself
    deep = b"\x80\x02" + b"}X\x01\x00\x00\x00a" * 5000 + b"}" + b"s" * 5000 + b"."
    for content in (itself, deep, [1]):
        path = archive_of(tmp_path / "c.pt", content)
        with pytest.raises(ValueError, match="no state dict of a model with a recurrent module"):
            load_torch_model(path)
        with pytest.raises(ValueError, match=r"c\.pt does not hold the state dict of one module"):
            load_torch(path, kind="gru")


def test_a_safetensors_file_that_begins_as_a_pickle(tmp_path: Path) -> None:
    """Its header is of 640 bytes, which are the bytes 80 02."""
    header: dict[str, Any] = {}
    for name, start in (("weight_ih_l0", 0), ("weight_hh_l0", 16)):
        header[name] = {"dtype": "F32", "shape": [2, 2], "data_offsets": [start, start + 16]}
    text = json.dumps(header).encode().ljust(640)
    numbers = np.arange(8, dtype="<f4")
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", 640) + text + numbers.tobytes())
    _, params = load_torch(tmp_path / "a.safetensors", kind="rnn_tanh")
    np.testing.assert_array_equal(params["w_hh"], numbers[4:].reshape(2, 2).T)
