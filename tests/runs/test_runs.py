"""Runs: the published training come out again, interruption, folders, data."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import signal
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import rnn_jax
from rnn_jax import reference, runs, text
from rnn_jax.interop.tensors import load_noted, save_noted
from rnn_jax.runs.data import prepare
from rnn_jax.runs.sentences import SentenceRange
from rnn_jax.runs.streams import Stream

SMALL: dict[str, Any] = {
    "corpus": "comments-sample",
    "hidden_size": 8,
    "embedding_size": 6,
    "batch_size": 4,
    "seq_length": 10,
}


class Silent:
    """A listener that only counts chunks, and can press Ctrl-C at one of them."""

    def __init__(self, interrupt_at: int | None = None) -> None:
        self.chunks, self.interrupt_at = 0, interrupt_at
        self.rows: list[dict[str, Any]] = []

    def progress(self, progress: rnn_jax.training.Progress) -> None:
        self.chunks += 1
        if self.chunks == self.interrupt_at:
            signal.raise_signal(signal.SIGINT)

    def evaluated(self, row: dict[str, Any], params: Any) -> None:
        self.rows.append(row)


def position(folder: runs.RunFolder) -> dict[str, Any]:
    """What a checkpoint says beside its tensors."""
    found = load_noted(folder.path / "checkpoint.safetensors")[1]
    assert found is not None
    return found


def start(path: Path, **options: Any) -> tuple[runs.RunFolder, runs.RunData]:
    data = prepare(runs.TrainConfig(**SMALL | options))
    folder = runs.create_folder(str(path))
    folder.save_settings(data.config, data.vocabulary, data.sha256, data.origin)
    return folder, data


def test_the_published_training_comes_out_as_in_numpy(tmp_path: Path) -> None:
    """100 sentences, 10 epochs, learning rate 0.005, V 8000, H 100, sliding windows of 4."""
    corpus = tmp_path / "corpus.txt"
    # The sentences, and as many words as it takes.
    texts = text.read_documents("comments-sample").texts
    corpus.write_text("\n".join([*texts, *(f"word{number}." for number in range(8000))]))
    folder, data = start(
        tmp_path / "run",
        corpus=str(corpus),
        max_sentences=100,
        cell="tanh",
        hidden_size=100,
        embedding_size=0,
        bias=False,
        bptt="sliding:4",
        batching="sentences",
        batch_size=1,
        optimizer="sgd",
        clip=0.0,
        held_out=0.0,
        epochs=10,
    )
    assert len(data.vocabulary) == 8000
    U, V, W = rnn_jax.interop.to_uvw(data.initial_parameters)
    listener = Silent()
    assert runs.fit(folder, data, listener) == "done"
    losses = [row["loss"] for row in listener.rows]
    oracle = reference.VectorisedRNN(*(m.astype(np.float64) for m in (U, V, W)))
    assert isinstance(data.training, SentenceRange)
    xs, ys = zip(*data.training.read().pairs(), strict=True)
    history = reference.train(oracle, xs, ys, learning_rate=0.005, epochs=10)
    history.append((1000, oracle.loss(xs, ys)))
    # Float32 beside float64 over a thousand steps; the claim is 1e-4 at every epoch.
    np.testing.assert_allclose(losses, [loss for _, loss in history], atol=1e-4)
    assert abs(losses[0] - math.log(8000)) < 0.01 * math.log(8000)
    assert losses[-1] < 6.5


def test_a_run_that_was_interrupted_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    options = {"epochs": 3, "dropout": 0.3, "bptt": "randomized:0.8", "seed": 5}
    whole, data = start(tmp_path / "whole", **options)
    assert runs.fit(whole, data, Silent()) == "done"
    parts, data = start(tmp_path / "parts", **options)
    assert runs.fit(parts, data, Silent(interrupt_at=3)) == "interrupted"
    assert position(parts)["batch"] > 0  # within an epoch
    assert runs.fit(parts, data, Silent(), resume=True) == "done"
    for a, b in zip(*(jax.tree.leaves(f.load_parameters()) for f in (whole, parts)), strict=True):
        np.testing.assert_array_equal(a, b)
    rows = [
        [(row["epoch"], row["loss"], row["train_loss"]) for row in folder.read_metrics()]
        for folder in (whole, parts)
    ]
    assert [epoch for epoch, _, _ in rows[0]] == [0, 1, 2, 3]
    assert rows[0] == rows[1]  # to the last bit, wherever a chunk ended


def test_the_learning_rate_halves_when_the_loss_rises(tmp_path: Path) -> None:
    folder, data = start(tmp_path / "run", epochs=4, optimizer="sgd", lr=30.0, max_sentences=60)
    listener = Silent()
    runs.fit(folder, data, listener)
    rate = 30.0
    for before, after in itertools.pairwise(listener.rows):
        assert after["learning_rate"] == pytest.approx(rate)
        rate = rate / 2 if after["loss"] > before["loss"] else rate
    assert rate < 30.0


def test_a_loss_that_is_not_finite_is_said(tmp_path: Path) -> None:
    folder, data = start(
        tmp_path / "run", optimizer="sgd", lr=1e30, clip=0.0, cell="relu", batching="random"
    )
    with pytest.raises(ValueError, match=r"finite at step \d+: lower --lr or clip the gr"):
        runs.fit(folder, data, Silent())


@pytest.mark.parametrize("batching", ["sentences", "random"])
def test_every_batching_learns(tmp_path: Path, batching: str) -> None:
    folder, data = start(tmp_path / "run", epochs=2, batching=batching, num_layers=2)
    listener = Silent()
    runs.fit(folder, data, listener)
    losses = [row["loss"] for row in listener.rows]
    assert losses == sorted(losses, reverse=True)
    assert sum(b.mask.sum() if b.mask is not None else b.targets.size for b in batches(data)) == (
        data.tokens if batching == "sentences" else data.epoch(0)[1] * 40
    )


def batches(data: runs.RunData) -> list[rnn_jax.Batch]:
    epoch, count = data.epoch(0)
    assert not isinstance(epoch, rnn_jax.training.Fed)
    found: list[rnn_jax.Batch] = []
    with jax.disable_jit():
        for index in range(count):
            epoch.visit(jax.numpy.array(index), lambda state, batch: found.append(batch), None)
    return found


def test_unigram_loss_and_split_by_hand() -> None:
    data = prepare(runs.TrainConfig(**SMALL | {"batching": "sentences", "held_out": 0.2}))
    everything = prepare(runs.TrainConfig(**SMALL | {"batching": "sentences", "held_out": 0}))
    assert isinstance(data.training, SentenceRange)
    assert isinstance(everything.training, SentenceRange)
    cut = len(data.training)
    assert cut == len(everything.training) - math.ceil(len(everything.training) * 0.2)
    seen = np.concatenate([y for _, y in data.training.read().pairs()])
    held_out = np.concatenate([y for _, y in everything.training.read(cut).pairs()])
    counts = np.bincount(seen, minlength=len(data.vocabulary)) + 1.0
    expected = -np.log(counts / counts.sum())[held_out].mean()
    assert data.unigram_loss == pytest.approx(expected)
    assert isinstance(data.evaluation, rnn_jax.SentenceStream)
    assert int(data.evaluation.lengths.sum()) == len(held_out)


def test_characters_and_words_of_a_stream() -> None:
    options = {**SMALL, "letters_only": True, "held_out": 0.0}
    characters = prepare(runs.TrainConfig(**options, level="char", max_tokens=500, vocab_size=10))
    assert len(characters.vocabulary) == 10 and characters.vocabulary.tokens[:2] == ("<unk>", " ")
    assert isinstance(characters.training, Stream)
    assert len(characters.training) == 500 and characters.training.read().max() < 10
    words = prepare(runs.TrainConfig(**options))
    assert words.vocabulary.tokens[0] == "<unk>" and "the" in words.vocabulary


def test_a_folder_holds_what_it_promises(tmp_path: Path) -> None:
    folder, data = start(tmp_path / "run", epochs=1, max_sentences=50)
    runs.fit(folder, data, Silent())
    runs.plot_loss(folder, folder.read_metrics(), data.unigram_loss)
    kept = runs.open_folder(str(folder.path))
    assert kept.config == data.config and kept.vocabulary == data.vocabulary
    content = json.loads((folder.path / "config.json").read_text())
    assert content["config"]["seed"] == 0 and content["corpus_sha256"] == data.sha256
    assert content["python"].startswith("3.")
    assert (folder.path / "loss.png").read_bytes().startswith(b"\x89PNG")
    loss, tokens = runs.evaluator(kept.model)(kept.load_parameters(), data)
    assert loss == pytest.approx(folder.read_metrics()[-1]["loss"], rel=1e-6)
    assert tokens > 0
    assert not [path for path in folder.path.iterdir() if path.name.startswith(".")]


def test_the_best_parameters_are_kept(tmp_path: Path) -> None:
    """A rate that rises until the loss does, too: the lowest one can be had, also after a pause."""
    options: dict[str, Any] = {"epochs": 4, "optimizer": "sgd", "lr": 300.0, "clip": 0.1}
    options |= {"schedule": "constant", "warmup": 3.9}
    whole, data = start(tmp_path / "whole", **options)
    runs.fit(whole, data, Silent())
    parts, data = start(tmp_path / "parts", **options)
    assert runs.fit(parts, data, Silent(interrupt_at=5)) == "interrupted"
    assert runs.fit(parts, data, Silent(), resume=True) == "done"
    losses = [row["loss"] for row in whole.read_metrics()]
    assert 0 < losses.index(min(losses)) < 4
    for folder in (whole, parts):
        loss, _ = runs.evaluator(folder.model)(folder.load_parameters(best=True), data)
        assert loss == pytest.approx(min(losses), rel=1e-6)
    best = (whole.path / "best.safetensors").read_bytes()
    more = prepare(runs.TrainConfig(**SMALL | options | {"epochs": 5}))
    # A history that is gone does not let a worse loss take the place of the best.
    (whole.path / "metrics.jsonl").unlink()
    with pytest.warns(UserWarning, match="a new history begins"):
        runs.fit(whole, more, Silent(), resume=True, learning_rate=200.0)
    assert (whole.path / "best.safetensors").read_bytes() == best
    (parts.path / "best.safetensors").unlink()
    with pytest.raises(ValueError, match="has not kept the best"):
        parts.load_parameters(best=True)
    with pytest.warns(UserWarning, match="has not kept the best parameters; they are kept from"):
        runs.fit(parts, more, Silent(), resume=True)
    assert parts.load_parameters(best=True)


@pytest.mark.parametrize(
    "name, content",
    [
        ("config.json", "{"),
        ("config.json", '{"format": "another"}'),
        ("vocabulary.json", "[]"),
        ("config.json", '{"format": "rnn_jax run 1", "config": {}}'),
        ("parameters.safetensors", "text"),
    ],
)
def test_a_broken_folder_is_named(tmp_path: Path, name: str, content: str) -> None:
    folder, data = start(tmp_path / "run", max_sentences=50)
    folder.save_parameters(data.initial_parameters)
    folder.write_text(name, content)
    with pytest.raises(ValueError, match=r"run|vocabulary|safetensors"):
        runs.open_folder(str(folder.path)).load_parameters()


def test_parameters_of_another_model_are_refused(tmp_path: Path) -> None:
    folder, data = start(tmp_path / "run", max_sentences=50)
    other = runs.make_model(runs.TrainConfig(hidden_size=9), len(data.vocabulary))
    folder.save_parameters(other.init(jax.random.key(0)))
    with pytest.raises(ValueError, match="parameters of another model"):
        folder.load_parameters()


def test_force_replaces_a_run_and_nothing_else(tmp_path: Path) -> None:
    folder, _ = start(tmp_path / "run", max_sentences=50)
    with pytest.raises(ValueError, match="exists already"):
        runs.create_folder(str(folder.path))
    assert runs.create_folder(str(folder.path), force=True).path == folder.path
    assert list(folder.path.iterdir()) == []
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()
    with pytest.raises(ValueError, match="--force replaces only the folder of a run"):
        runs.create_folder(str(tmp_path / "photos"), force=True)
    folder, _ = start(tmp_path / "mixed", max_sentences=50)
    (folder.path / "notes.txt").touch()
    with pytest.raises(ValueError, match=r"would delete notes\.txt"):
        runs.create_folder(str(folder.path), force=True)
    assert (folder.path / "config.json").exists()


@pytest.mark.parametrize("damage", ["missing", "cut", "of another model"])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, damage: str) -> None:
    folder, data = start(tmp_path / "run", max_sentences=50, epochs=0)
    runs.fit(folder, data, Silent())
    file = folder.path / "checkpoint.safetensors"
    if damage == "missing":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(file.read_bytes()[:5000])
    else:
        save_noted(file, {"state": data.initial_parameters}, position(folder))
    message = "another model" if damage == "of another model" else "not a readable safetensors"
    with pytest.raises(ValueError, match=message):
        runs.fit(folder, data, Silent(), resume=True)


def test_force_leaves_the_configuration_of_something_else_alone(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "another"}')
    with pytest.raises(ValueError, match="--force replaces only the folder of a run"):
        runs.create_folder(str(tmp_path), force=True)
    assert (tmp_path / "config.json").exists()


def test_default_folders_are_never_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert runs.create_folder(None).path != runs.create_folder(None).path


def test_a_divergence_in_the_last_step_is_said(tmp_path: Path) -> None:
    folder, data = start(
        tmp_path / "run", optimizer="sgd", lr=3e38, clip=0.0, cell="relu", epochs=1, batch_size=30
    )
    with pytest.raises(ValueError, match=r"no longer finite at step \d+: lower --lr"):
        runs.fit(folder, data, Silent())


def test_sentences_that_are_too_long_are_left_out_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "long.txt"
    path.write_text("One two three. " * 40 + "many " * 300 + "words. " + "Four five. " * 40)
    settings: Any = {"corpus": str(path), "batching": "sentences", "optimizer": "sgd"}
    everything = runs.prepare(runs.TrainConfig(**settings))
    data = runs.prepare(runs.TrainConfig(**settings, max_length=4))
    assert (everything.left_out, data.left_out) == (0, 1)
    assert isinstance(data.training, SentenceRange)
    assert max(data.training.read().lengths) == data.training.buckets[-1] == 5
    with pytest.raises(ValueError, match="--max-length 1 leaves out all 81 sentences"):
        runs.prepare(runs.TrainConfig(**settings, max_length=1))


def test_folders_of_before_keep_their_reading_of_lines(tmp_path: Path) -> None:
    folder, _ = start(tmp_path / "run", max_tokens=500, level="char", letters_only=True)
    file = folder.path / "config.json"
    content = json.loads(file.read_text())
    for name in ("glue_lines", "max_length", "language", "reset_at_documents"):
        del content["config"][name]
    del content["checksum"]
    file.write_text(json.dumps(content))
    config = runs.open_folder(str(folder.path)).config
    assert (config.glue_lines, config.max_length) == (True, None)
    assert (config.language, config.reset_at_documents) == ("english", False)


def test_losses_do_not_depend_on_where_chunks_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = []
    for seconds in (0.0, 1e9):
        monkeypatch.setattr(sys.modules["rnn_jax.training.session"], "SECONDS", seconds)
        folder, data = start(tmp_path / f"run{seconds}", epochs=1, batch_size=2, dropout=0.2)
        listener = Silent()
        runs.fit(folder, data, listener)
        rows.append([(row["train_loss"], row["loss"]) for row in listener.rows])
    assert rows[0] == rows[1]


def test_a_run_paused_off_the_evaluation_grid_keeps_its_rate(tmp_path: Path) -> None:
    options = {"optimizer": "sgd", "lr": 30.0, "max_sentences": 60, "evaluate_every": 3}
    whole, data = start(tmp_path / "whole", epochs=7, **options)
    runs.fit(whole, data, Silent())
    parts, data = start(tmp_path / "parts", epochs=2, **options)
    runs.fit(parts, data, Silent())
    for epochs in (4, 5, 7):
        data = prepare(runs.TrainConfig(**SMALL | options | {"epochs": epochs}))
        runs.fit(parts, data, Silent(), resume=True)
    grid = [
        [(row["epoch"], row["loss"], row["learning_rate"]) for row in folder.read_metrics()]
        for folder in (whole, parts)
    ]
    assert [row for row in grid[1] if row[0] not in (2, 4, 5)] == grid[0]
    assert [row[0] for row in grid[1]] == [0, 2, 3, 4, 5, 6, 7]


def test_a_state_without_a_finite_loss_is_not_saved(tmp_path: Path) -> None:
    """The update of the epoch's last step diverges, which no loss of that epoch shows."""
    options = {"optimizer": "sgd", "max_sentences": 50, "evaluate_every": 5, "batch_size": 40}
    folder, data = start(tmp_path / "run", epochs=1, **options)
    assert data.epoch(0)[1] == 1
    runs.fit(folder, data, Silent())
    before = (folder.path / "checkpoint.safetensors").read_bytes()
    more = prepare(runs.TrainConfig(**SMALL | options | {"epochs": 4, "clip": 0.0}))
    with pytest.raises(ValueError, match=r"lower --lr or .*; .* keeps the state after step 1"):
        runs.fit(folder, more, Silent(), resume=True, learning_rate=3e38)
    after = runs.open_folder(str(folder.path))
    assert after.steps == 1
    after.load_parameters()
    # The rate is what was asked for; all else is the state of before.
    assert len((folder.path / "checkpoint.safetensors").read_bytes()) == len(before)
    runs.fit(folder, more, Silent(), resume=True, learning_rate=0.1)
    assert folder.read_metrics()[-1]["learning_rate"] == pytest.approx(0.1)


def test_a_resumed_run_tells_its_true_speed(tmp_path: Path) -> None:
    """Compiling is not timed: an epoch of one step, which compiles, has no speed."""
    options = {"max_sentences": 50, "batch_size": 40}
    folder, data = start(tmp_path / "run", epochs=1, **options)
    assert data.epoch(0)[1] == 1
    runs.fit(folder, data, Silent())
    listener = Silent()
    more = prepare(runs.TrainConfig(**SMALL | options | {"epochs": 3}))
    runs.fit(folder, more, listener, resume=True)
    assert [row["tokens_per_second"] > 0 for row in listener.rows] == [False, True]


def test_a_prefix_that_the_model_cannot_know(tmp_path: Path) -> None:
    _, data = start(tmp_path / "char", level="char", max_tokens=600)
    sample = (data.model, data.initial_parameters, data.vocabulary, data.config)
    with pytest.raises(ValueError, match=r"never seen \('Ж', '☃'\): leave them out"):
        runs.sample_texts(*sample, prefix="aЖ☃Ж", length=5, count=1)
    _, data = start(tmp_path / "letters", level="char", max_tokens=600, letters_only=True)
    sample = (data.model, data.initial_parameters, data.vocabulary, data.config)
    with pytest.raises(ValueError, match=r"nothing of the prefix '123' is left"):
        runs.sample_texts(*sample, prefix="123", length=5, count=1)
    _, data = start(tmp_path / "word", max_sentences=60)
    sample = (data.model, data.initial_parameters, data.vocabulary, data.config)
    with pytest.warns(UserWarning, match="does not know 'zzzxq' and reads the unknown word"):
        runs.sample_texts(*sample, prefix="zzzxq", length=5, count=1)


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    folder, data = start(tmp_path / "run", max_sentences=50)
    for value in (np.nan, np.inf):
        readout = data.initial_parameters["readout"]
        broken = {**readout, "b": readout["b"].at[1].set(value)}
        params = {**data.initial_parameters, "readout": broken}
        folder.save_parameters(params)
        with pytest.raises(ValueError, match=r"readout\.b in .* is not finite"):
            folder.load_parameters()


@pytest.mark.parametrize("held_out", [0.0, 0.01, 0.3])
@pytest.mark.parametrize("batching", ["sequential", "random", "sentences"])
def test_every_target_of_the_evaluation_text_counts_once(batching: str, held_out: float) -> None:
    config = runs.TrainConfig(**SMALL | {"batching": batching, "held_out": held_out})
    data = prepare(config)
    whole = prepare(dataclasses.replace(config, held_out=0.0))
    _, tokens = runs.evaluator(data.model)(data.initial_parameters, data)
    if isinstance(whole.training, SentenceRange):
        assert isinstance(data.training, SentenceRange)
        part = whole.training.read(len(data.training) if held_out else 0)
        assert tokens == part.word_count
    else:
        cut = len(data.training) if held_out else 0
        assert tokens == len(whole.training) - cut - 1
