"""A run's files with a bit flipped: noticed, or of no consequence."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from rnn_jax import runs
from rnn_jax.host.checksums import sealed
from rnn_jax.interop import load_params, save_params
from rnn_jax.interop.tensors import load_noted
from rnn_jax.text.cache import load_arrays, store_arrays
from tests.runs.test_runs import Silent, start

COLUMNS = ("epoch", "step", "tokens", "train_loss", "loss", "perplexity", "learning_rate", "time")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, data = start(tmp_path_factory.mktemp("damage") / "run", epochs=2, max_sentences=50)
    assert runs.fit(folder, data, Silent()) == "done"
    runs.plot_loss(folder, folder.read_metrics(), data.unigram_loss)
    folder.write_text("samples.txt", "a sample\n")
    return folder.path


def contents(path: Path) -> Any:
    """All that commands take from a run's folder; a warning is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        folder = runs.open_folder(str(path))
        params = folder.load_parameters()
        checkpoint = load_params(path / "checkpoint.safetensors")
        arrays = [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves((params, checkpoint))]
        vocabulary = folder.vocabulary
        # A checksum's own name, when damaged, is one entry more and an older file's row.
        rows = [[row[name] for name in COLUMNS] for row in folder.read_metrics()]
        return folder.config, folder.corpus_sha256, vocabulary, rows, arrays


@pytest.mark.parametrize(
    "name",
    [
        "config.json",
        "vocabulary.json",
        "metrics.jsonl",
        "parameters.safetensors",
        "checkpoint.safetensors",
        "samples.txt",
        "loss.png",
    ],
)
def test_a_flipped_bit_is_noticed_or_harmless(sound: Path, tmp_path: Path, name: str) -> None:
    before = contents(sound)
    path = tmp_path / "run"
    shutil.copytree(sound, path)
    whole = (path / name).read_bytes()
    rng = np.random.default_rng(0)
    # Headers are short beside the tensors: half of the flips go to the beginning.
    places = [*rng.integers(0, min(1500, len(whole)), 30), *rng.integers(0, len(whole), 30)]
    noticed = 0
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << rng.integers(8)
        (path / name).write_bytes(damaged)
        try:
            assert contents(path) == before, f"byte {place} of {name}"
        except (ValueError, UserWarning):
            noticed += 1
    # Nothing is computed from samples and the picture; whitespace in JSON says nothing.
    assert noticed == 0 if name in ("samples.txt", "loss.png") else noticed > 40


def test_a_damaged_file_is_named(sound: Path, tmp_path: Path) -> None:
    path = tmp_path / "run"
    shutil.copytree(sound, path)
    config = (path / "config.json").read_text()
    (path / "config.json").write_text(config.replace('"seed": 0', '"seed": 1'))
    with pytest.raises(ValueError, match=r"config\.json is damaged or was edited"):
        runs.open_folder(str(path))
    (path / "config.json").write_text(config)
    words = (path / "vocabulary.json").read_text()
    (path / "vocabulary.json").write_text(words.replace('"the"', '"thE"'))
    with pytest.raises(ValueError, match=r"vocabulary\.json is damaged, or that of another run"):
        runs.open_folder(str(path))
    file = path / "parameters.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    (path / "vocabulary.json").write_text(words)
    with pytest.raises(ValueError, match=r"safetensors is damaged: readout\.w in it"):
        runs.open_folder(str(path)).load_parameters()


def test_a_run_of_before_there_were_checksums_is_read_and_goes_on(
    sound: Path, tmp_path: Path
) -> None:
    path = tmp_path / "run"
    shutil.copytree(sound, path)
    config = json.loads((path / "config.json").read_text())
    for key in ("checksum", "vocabulary_checksum", "resumed"):
        del config[key]
    (path / "config.json").write_text(json.dumps(config))
    rows = runs.open_folder(str(path)).read_metrics()
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name in ("parameters", "checkpoint"):
        with safe_open(path / f"{name}.safetensors", "np") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        if name == "checkpoint":
            position = load_noted(path / "checkpoint.safetensors")[1]
            assert position is not None
            for key in ("epoch", "batch", "nats", "tokens", "seen"):
                tensors[f"done.{key}"] = np.asarray(position[key])
            tensors["done.loss"] = np.asarray(position["losses"][-1])
        save_file(tensors, path / f"{name}.safetensors")
        assert contents(path) == contents(sound) or name == "checkpoint"
    with runs.resumed_folder(str(path)) as folder:
        data = runs.prepare(runs.TrainConfig(**{**config["config"], "epochs": 3}))
        assert runs.fit(folder, data, Silent(), resume=True) == "done"
    assert [row["epoch"] for row in folder.read_metrics()] == [0, 1, 2, 3]
    longer = tmp_path / "longer"
    shutil.copytree(sound, longer)
    with runs.resumed_folder(str(longer)) as folder:
        assert runs.fit(folder, data, Silent(), resume=True) == "done"
    for name in ("parameters.safetensors", "checkpoint.safetensors"):
        trees = load_params(longer / name), load_params(path / name)
        jax.tree.map(np.testing.assert_array_equal, *trees)


def test_one_bad_line_costs_one_row(sound: Path, tmp_path: Path) -> None:
    path = tmp_path / "run"
    shutil.copytree(sound, path)
    lines = (path / "metrics.jsonl").read_bytes().split(b"\n")
    lines[1] = lines[1][:20] + b"\xff" + lines[1][20:]
    (path / "metrics.jsonl").write_bytes(b"\n".join(lines))
    folder = runs.open_folder(str(path))
    with pytest.warns(UserWarning, match=r"metrics\.jsonl is damaged in line 2"):
        assert [row["epoch"] for row in folder.read_metrics()] == [0, 2]
    data = runs.prepare(runs.TrainConfig(**{**vars(folder.config), "epochs": 3}))
    with pytest.warns(UserWarning, match="line 2"):
        runs.fit(folder, data, Silent(), resume=True)
    kept = (path / "metrics.jsonl").read_bytes().split(b"\n")
    assert kept[:3] == lines[:3] and json.loads(kept[3])["epoch"] == 3


def test_a_row_is_sealed_under_its_own_checksum() -> None:
    assert sealed({"a": 1})["checksum"] != sealed({"a": 2})["checksum"]
    assert sealed({"a": 1, "b": 2})["checksum"] == sealed({"b": 2, "a": 1})["checksum"]


def test_parameters_that_are_not_finite_are_refused(sound: Path, tmp_path: Path) -> None:
    path = tmp_path / "run"
    shutil.copytree(sound, path)
    folder = runs.open_folder(str(path))
    params = folder.load_parameters()
    params["readout"]["b"] = params["readout"]["b"].at[0].set(jnp.nan)
    folder.save_parameters(params)
    with pytest.raises(ValueError, match=r"readout\.b in .* is not finite"):
        folder.load_parameters()


def test_dtypes_are_checked_and_files_are_the_same_each_time(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    tree = {"b": np.ones((2, 3), np.float64), "a": np.arange(3), "c": np.float32(4)}
    save_params(file, tree)
    first = file.read_bytes()
    save_params(file, tree)
    assert file.read_bytes() == first
    with pytest.raises(ValueError, match="holds b in float64, and float32 is wanted"):
        load_params(file, like={**tree, "b": np.ones((2, 3), np.float32)})
    half = jnp.ones((3,), jnp.bfloat16)
    save_params(file, {"h": half})
    assert load_params(file, like={"h": half})["h"].dtype == jnp.bfloat16


def test_two_identical_runs_write_identical_files(tmp_path: Path, sound: Path) -> None:
    code = (
        "import sys, pathlib\n"
        "from rnn_jax import runs\n"
        "from tests.runs.test_runs import Silent, start\n"
        "folder, data = start(pathlib.Path(sys.argv[1]), epochs=2, max_sentences=50)\n"
        "runs.fit(folder, data, Silent())\n"
    )
    # Another process hashes in another order.
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "run")], cwd=root, check=True)
    for name in ("parameters.safetensors", "checkpoint.safetensors", "vocabulary.json"):
        assert (tmp_path / "run" / name).read_bytes() == (sound / name).read_bytes(), name


def test_a_damaged_cache_is_rebuilt_or_read_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RNN_JAX_CACHE", str(tmp_path))
    arrays: dict[str, Any] = {
        "ids": np.arange(40, dtype=np.int32),
        "types": np.frombuffer(b"abc", np.uint8),
    }
    store_arrays("a", arrays)
    whole = (tmp_path / "a.npz").read_bytes()
    rng = np.random.default_rng(0)
    lost = 0
    for place in rng.integers(0, len(whole), 300):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << rng.integers(8)
        (tmp_path / "a.npz").write_bytes(damaged)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loaded = load_arrays("a")
        lost += loaded is None
        if loaded is not None:
            assert loaded.keys() == arrays.keys()
            for name, array in arrays.items():
                np.testing.assert_array_equal(loaded[name], array)
    assert 0 < lost < 300
