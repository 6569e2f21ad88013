"""``rnn-jax export``: the Python in the README of the folder draws what the model draws."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import re
import shutil
import subprocess
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnn_jax
from rnn_jax import text
from rnn_jax.cli import main
from rnn_jax.interop.tensors import load_tensors
from rnn_jax.runs import TrainConfig, create_folder
from rnn_jax.runs.export import FORMATS, FormatName
from rnn_jax.runs.units import Units
from tests.cli.test_cli import refusal
from tests.runs.written import VOCABULARY

WORDS = text.Vocabulary(
    (text.SENTENCE_START, text.SENTENCE_END, "a", "mond", "é", "ran", text.UNKNOWN_TOKEN), 6
)
KINDS: dict[str, dict[str, Any]] = {
    "sentences": {"level": "word", "vocabulary": WORDS, "cell": "gru"},
    "characters": {"level": "char", "cell": "lstm", "num_layers": 2, "tied": True},
    "bytes": {"level": "byte", "vocabulary": text.byte_vocabulary(), "cell": "tanh"},
    "subwords": {"cell": "gru", "embedding_size": 0, "bias": False},
}
# What the lines of a format must do without.
BLOCKED = dict.fromkeys(FORMATS, ("rnn_jax", "jax")) | {"stablehlo": ("rnn_jax",)}
EXTRAS = {"onnx": "onnxruntime", "stablehlo": "flatbuffers", "torch": "torch"}
LENGTH = 12


def subwords(folder: Path) -> dict[str, Any]:
    """A tokenizer.json, and the settings of a run with it."""
    library = pytest.importorskip("tokenizers")
    tokenizer = library.Tokenizer(library.models.BPE())
    tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = library.decoders.ByteLevel()
    alphabet = library.pre_tokenizers.ByteLevel.alphabet()
    trainer = library.trainers.BpeTrainer(
        vocab_size=270, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(["A cat and a dog ran on. " * 9], trainer)
    tokenizer.save(str(folder / "own.json"))
    found = [tokenizer.id_to_token(i) for i in range(tokenizer.get_vocab_size())]
    return {"level": f"file:{folder / 'own.json'}", "vocabulary": text.Vocabulary(tuple(found))}


def made(path: Path, *, vocabulary: text.Vocabulary = VOCABULARY, **settings: Any) -> str:
    """A run with random parameters, biases too, without training or compiling anything."""
    sizes = {"level": "char", "hidden_size": 6, "embedding_size": 6}
    folder = create_folder(str(path))
    folder.save_settings(TrainConfig(**{**sizes, **settings}), vocabulary, "its hash", "a text")
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda p: rng.normal(0, 0.7, p.shape).astype(p.dtype),
        jax.eval_shape(folder.model.init, jax.random.key(0)),
    )
    folder.save_parameters(params)
    folder.save_parameters(params, best=True)
    return str(path)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("runs")
    of_kind = {
        kind: {**options, **(subwords(root) if kind == "subwords" else {})}
        for kind, options in KINDS.items()
    }
    return {kind: made(root / kind, **options) for kind, options in of_kind.items()}


def lines_of(folder: Path) -> str:
    """The Python in the README, taking the most probable token."""
    readme = (folder / "README.md").read_text(encoding="utf-8")
    lines = readme.partition("```python\n")[2].partition("```")[0]
    for line, quick in (
        ("< 100:", f"< {LENGTH}:"),
        (r"ids, rng = \[\],", "temperature = 1e-9\n\\g<0>"),
    ):
        lines, found = re.subn(line, quick, lines)
        assert found == 1
    return lines


@functools.cache
def drawn_here(run: str) -> str:
    """What `generate` draws at temperature 0."""
    model, params, vocabulary, config = rnn_jax.load_run(run)
    units = Units(config, vocabulary)
    sentences = config.from_sentences
    stop = vocabulary.id(text.SENTENCE_END) if sentences else None
    barred = [] if vocabulary.unknown is None else [vocabulary.unknown]
    barred += [vocabulary.id(text.SENTENCE_START)] if sentences else []
    start = jnp.asarray(vocabulary.encode([text.SENTENCE_START if sentences else units.neutral]))
    how: Any = {"temperature": 0, "forbidden": tuple(barred), "stop": stop}
    _, ids = rnn_jax.generate(
        model, params, None, start, length=LENGTH, key=jax.random.key(0), **how
    )
    drawn = [int(i) for i in ids]
    drawn = drawn[: drawn.index(stop)] if stop in drawn else drawn
    return units.joined(vocabulary.decode(drawn)) + "\n"


def run_lines(folder: Path, format: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The lines in this process, where they cannot import what they must do without."""
    monkeypatch.chdir(folder)
    printed = io.StringIO()
    with (
        monkeypatch.context() as patched,
        contextlib.redirect_stdout(printed),
        warnings.catch_warnings(),
    ):
        for name in BLOCKED[format]:
            patched.setitem(sys.modules, name, None)
        warnings.simplefilter("ignore")  # theirs, not ours
        exec(compile(lines_of(folder), "README.md", "exec"), {})
    return printed.getvalue()


def needs(format: str) -> None:
    library = EXTRAS.get(format)
    if library is not None and find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    if format == "onnx":
        pytest.importorskip("onnx")


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_lines_draw_what_the_model_draws(
    kind: str, format: str, runs: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs(format)
    folder = tmp_path / "new" / "exported"
    assert main(["export", runs[kind], "--format", format, "--out", str(folder)]) == 0
    assert [path.name for path in folder.parent.iterdir()] == ["exported"]
    assert run_lines(folder, format, monkeypatch) == drawn_here(runs[kind])


# Beside the formats that every model has, what some have: a state dict, a step written out.
OTHERS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "no bias": ({"cell": "gru", "bias": False}, {"npz", "torch"}),
    "only a forget bias": ({"cell": "lstm", "bias": False}, {"npz", "torch"}),
    "two layers": (
        {"cell": "gru", "num_layers": 2, "dropout": 0.2, "weight_drop": 0.3},
        {"npz", "torch"},
    ),
    "one-hot": ({"cell": "tanh", "embedding_size": 0, "remat": True}, {"npz", "torch"}),
    "relu": ({"cell": "relu"}, {"torch"}),
    "projection": ({"cell": "lstm", "proj_size": 3}, {"torch"}),
    "complex": ({"cell": "lru"}, set()),
    "learned carry": ({"cell": "gru", "learned_carry": True, "batching": "random"}, set()),
}


@pytest.mark.parametrize(
    "name, format",
    [(name, f) for name, (_, more) in OTHERS.items() for f in sorted({"stablehlo", *more})],
)
def test_other_models(
    name: str, format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs(format)
    run, folder = made(tmp_path / "run", **OTHERS[name][0]), tmp_path / "exported"
    assert main(["export", run, "--format", format, "--out", str(folder)]) == 0
    assert run_lines(folder, format, monkeypatch) == drawn_here(run)


def test_arrays_are_listed_where_a_step_is_no_few_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, folder = made(tmp_path / "run", cell="min-gru"), tmp_path / "exported"
    assert main(["export", run, "--format", "safetensors", "--out", str(folder)]) == 0
    readme = (folder / "README.md").read_text(encoding="utf-8")
    monkeypatch.chdir(folder)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(readme.partition("```python\n")[2].partition("```")[0], {})
    assert "layer.w_ih (6, 12) float32\n" in printed.getvalue()


def test_arrays_have_one_name_in_all_files(tmp_path: Path) -> None:
    run = made(tmp_path / "run", cell="lstm", learned_carry=True, batching="random")
    names = []
    for format, load in (("npz", np.load), ("safetensors", load_tensors)):
        folder = tmp_path / format
        assert main(["export", run, "--format", format, "--out", str(folder)]) == 0
        names.append(sorted(load(folder / f"parameters.{format}")))
    assert names[0] == names[1] and "layer.carry.0" in names[0]


@pytest.mark.parametrize("format", FORMATS)
def test_the_lines_run_in_a_process_of_their_own(
    format: str, runs: dict[str, str], tmp_path: Path
) -> None:
    needs(format)
    folder = tmp_path / "exported"
    assert main(["export", runs["sentences"], "--format", format, "--out", str(folder)]) == 0
    refuse = (
        "import sys\n"
        "class Refused:\n"
        "    def find_spec(name, path=None, target=None):\n"
        f"        if name.partition('.')[0] in {BLOCKED[format]}:\n"
        "            raise ImportError(name)\n"
        "sys.meta_path.insert(0, Refused)\n"
    )
    found = subprocess.run(
        [sys.executable, "-I", "-X", "utf8", "-c", refuse + lines_of(folder)],
        cwd=folder, check=True, capture_output=True, env={**os.environ, "JAX_PLATFORMS": "cpu"},
    )  # fmt: skip
    assert found.stdout.decode() == drawn_here(runs["sentences"])


def test_the_folder_by_default_and_what_is_in_it(
    runs: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["export", runs["subwords"], "--format", "npz", "--best"]) == 0
    assert capsys.readouterr().out.startswith("exported to exports/subwords-npz; ")
    folder = Path("exports/subwords-npz")
    names = {"README.md", "parameters.npz", "tokenizer.json", "vocabulary.json"}
    assert {path.name for path in folder.iterdir()} == names
    readme = (folder / "README.md").read_text()
    assert all(f"`{name}`: " in readme for name in names - {"README.md"})
    assert "pip install numpy tokenizers" in readme
    assert folder.stat().st_mode & 0o777 == Path("exports").stat().st_mode & 0o777


def test_bad_input_is_one_sentence_and_leaves_nothing(
    runs: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path / "exported")]
    npz = ["--format", "npz", *out]
    assert "is not the folder of a run" in refusal(capsys, "export", "nowhere", *npz)
    assert "not one of" in refusal(capsys, "export", runs["bytes"], "--format", "pickle", *out)
    for file in ("vocabulary.json", "parameters.safetensors"):
        broken = tmp_path / "broken"
        shutil.copytree(runs["bytes"], broken)
        (broken / file).unlink()
        assert f"{broken / file}" in refusal(capsys, "export", str(broken), *npz)
        shutil.rmtree(broken)
    (tmp_path / "exported").mkdir()
    assert "exists already" in refusal(capsys, "export", runs["bytes"], *npz)
    (tmp_path / "exported").rmdir()
    run = made(tmp_path / "odd", cell="lru")
    assert "PyTorch has" in refusal(capsys, "export", run, "--format", "torch", *out)
    run = made(tmp_path / "zoneout", cell="gru", zoneout=0.1)
    assert "choose another format" in refusal(capsys, "export", run, "--format", "torch", *out)
    for inside in ("exported", "further/exported"):
        taken = ["--out", f"{Path(run) / 'config.json' / inside}"]
        said = refusal(capsys, "export", run, "--format", "npz", *taken)
        assert "cannot be written to" in said and "choose another folder" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["odd", "zoneout"]


def test_one_table_of_formats() -> None:
    assert get_args(FormatName) == tuple(FORMATS)
