from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnn_jax as r
from rnn_jax import recipes, text
from rnn_jax.cli import main
from rnn_jax.interop import load_uvw, to_uvw
from rnn_jax.recipes.reference_step import Workload
from rnn_jax.recipes.sentences import train, word_model
from rnn_jax.recipes.word_model import check_truncated, losses_from_the_end, mean_loss

# Sentences of two lengths: each length is compiled.
TEXTS = (
    "The cat that sat on the mat saw the dog. The dog ran. "
    "A dog that ran to the cat saw a mat. The cat sat."
)


def corpus(count: int = 9) -> tuple[text.Vocabulary, text.Sentences]:
    tokenized = text.tokenize_corpus(text.Documents("made-up", (TEXTS,) * count, "", ""))
    vocabulary = text.reference_vocabulary(tokenized.counts(), 12)
    return vocabulary, text.encode_sentences(tokenized, vocabulary)


@pytest.mark.usefixtures("x64")
def test_a_tail_learns_from_the_last_words_alone() -> None:
    vocabulary, sentences = corpus(3)
    model = word_model(len(vocabulary), 4)
    params = expected = model.init(jax.random.key(0))
    short = r.truncate(model, r.tail(1))
    seen: list[Any] = []
    last = train(
        short, params, sentences, evaluate=mean_loss(model, sentences), epochs=1, tell=seen.append
    )
    for x, y in (map(jnp.asarray, pair) for pair in sentences.pairs()):

        def loss(p: Any, x: Any = x, y: Any = y) -> Any:
            carry, _ = model.apply(jax.lax.stop_gradient(p), None, x[:-1])
            _, logits = model.apply(p, carry, x[-1:])
            return r.cross_entropy(logits, y[-1:], reduction="sum")

        step = jax.grad(loss)(expected)
        expected = jax.tree.map(lambda p, g: p - 0.005 * g, expected, step)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10), last, expected)
    nats = [
        r.cross_entropy(
            model.apply(expected, None, jnp.asarray(x))[1], jnp.asarray(y), reduction="sum"
        )
        for x, y in sentences.pairs()
    ]
    assert seen[-1].loss == pytest.approx(float(sum(nats)) / sentences.word_count)


@pytest.mark.usefixtures("x64")
def test_losses_are_sorted_by_the_distance_from_the_end() -> None:
    vocabulary, sentences = corpus(1)
    model = word_model(len(vocabulary), 4)
    params = model.init(jax.random.key(1))
    by_place: dict[int, list[float]] = {}
    for x, y in sentences.pairs():
        _, logits = model.apply(params, None, jnp.asarray(x))
        losses = r.cross_entropy(logits, jnp.asarray(y), reduction="none")
        for place, loss in enumerate(reversed(losses.tolist())):
            by_place.setdefault(place, []).append(loss)
    got = losses_from_the_end(model, sentences, 30)(params)
    longest = int(sentences.lengths.max())
    expected = [np.mean(by_place[place]) for place in range(longest)]
    np.testing.assert_allclose(got[:longest], expected, rtol=1e-10)
    assert np.isnan(got[longest:]).all()
    np.testing.assert_allclose(losses_from_the_end(model, sentences, 2)(params), expected[:2])


def test_the_recipe_from_text_to_sentences(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    documents = text.Documents("made-up", (TEXTS,) * 30, "", "nowhere")
    monkeypatch.setattr(text, "read_documents", lambda *_, **__: documents)
    monkeypatch.setattr("rnn_jax.recipes.word_model.Workload", small_workload)
    out = tmp_path / "run"
    options = ["--hidden-size", "6", "--out", str(out)]
    assert main(["recipe", "word-model", "--quick", *options]) == 0
    names = {path.name for path in out.iterdir()}
    assert names == {
        "history.jsonl", "table.md", "loss-few.png", "loss-whole.png", "loss-from-the-end.png",
        "sliding-4.npz", "tail-4.npz",
    }  # fmt: skip
    rows = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    assert [(row["sentences"], row["bptt"]) for row in rows] == [
        *[(100, "sliding:4")] * 11, *[(120, "sliding:4")] * 3,
        *[(100, "tail:4")] * 11, *[(120, "tail:4")] * 3,
    ]  # fmt: skip
    printed = capsys.readouterr().out
    assert "Parsed 120 sentences of nowhere." in printed
    assert "Loss after num_examples_seen=900 epoch=9: " in printed
    table = (out / "table.md").read_text()
    assert table in printed
    assert "8.987425" in table and "FAILED" not in table
    assert labels(table) == labels(section("word-model"))
    lines = printed.split("saved and loaded, sliding:4:\n")[1].split("\n\n")[0].splitlines()
    assert len(lines) == 10
    assert all(len(line.split()) >= 7 for line in lines)
    shapes = [array.shape for array in to_uvw(load_uvw(out / "tail-4.npz"))]
    assert shapes == [(6, 15), (15, 6), (6, 6)]


def section(name: str) -> str:
    """What the recipes' README says of one."""
    readme = Path(recipes.__file__).with_name("README.md").read_text("utf-8")
    return readme.split(f"\n## {name}\n")[1].split("\n## ")[0]


def labels(table: str) -> list[str]:
    """The first column of a Markdown table, all numbers alike."""
    cells = [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("|")]
    return [re.sub(r"[\d,]*\d", "#", cell) for cell in cells if not cell.startswith("-")]


@pytest.mark.parametrize("name", ["sliding:1", "tail:2", "chunked:2", "randomized:0.5", "full"])
def test_the_gradient_check_does_not_blame_a_short_window(name: str) -> None:
    assert check_truncated(r.parse_truncation(name), 0).passed


def test_an_interrupt_leaves_the_rows_so_far(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = text.Documents("made-up", (TEXTS,) * 30, "", "nowhere")
    monkeypatch.setattr(text, "read_documents", lambda *_, **__: documents)
    monkeypatch.setattr("rnn_jax.recipes.word_model.Workload", small_workload)
    looks = []

    def interrupted(evaluation: Any) -> None:
        looks.append(evaluation)
        if len(looks) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr("rnn_jax.recipes.word_model.print_evaluation", interrupted)
    out = tmp_path / "run"
    options = ["--quick", "--hidden-size", "3", "--bptt", "tail:2", "--out", str(out)]
    assert main(["recipe", "word-model", *options]) == 130
    rows = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [0, 1, 2]


def small_workload(**options: Any) -> Any:
    return Workload(vocab_size=20, hidden_size=5, length=6, **options)


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--bptt", "sliding:4,middle:2"], "--bptt 'middle:2' is not a truncation"),
        (["--epochs", "0"], "--epochs must be at least 1"),
        (["--whole-epochs", "0"], "--whole-epochs must be at least 1"),
        (["--corpus", "nowhere.txt"], "nowhere.txt"),
    ],
)
def test_bad_input_is_one_sentence(
    arguments: list[str], words: str, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["recipe", "word-model", "--out", "run", *arguments]) == 2
    err = capsys.readouterr().err
    assert words in err and err.count("\n") == 1
