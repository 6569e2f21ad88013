"""The recipe operation-graph: gates, steps and sentences against numbers found another way."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnn_jax
from rnn_jax import text
from rnn_jax.cli import main
from rnn_jax.interop import from_uvw
from rnn_jax.recipes import operation_graph as recipe
from rnn_jax.recipes.sentences import Evaluation, batched, train, word_model
from rnn_jax.reference import GATES, NumpyRNN, OperationGraphRNN
from rnn_jax.reference import train as reference_train
from tests.oracles import full_gradients


def case(words: int, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    weights = [rng.normal(size=shape) for shape in ((5, 8), (8, 5), (5, 5))]
    return OperationGraphRNN(*weights), *rng.integers(0, 8, (2, words))


@pytest.mark.parametrize("name", GATES)
def test_a_gate_against_central_differences(name: str) -> None:
    rng = np.random.default_rng(0)
    inputs: list[Any] = {
        "multiply": [rng.normal(size=(3, 4)), rng.normal(size=4)],
        "add": [rng.normal(size=4), rng.normal(size=4)],
        "tanh": [rng.normal(size=4)],
        "cross-entropy": [rng.normal(size=4), np.eye(4)[2]],
    }[name]
    gate = GATES[name]
    dz = rng.normal(size=np.shape(gate.forward(*inputs)))
    for place, gradient in enumerate(gate.backward(*inputs, dz)):
        for index in np.ndindex(gradient.shape):
            ends = []
            for change in (1e-6, -1e-6):
                moved = [array.copy() for array in inputs]
                moved[place][index] += change
                ends.append((gate.forward(*moved) * dz).sum())
            assert gradient[index] == pytest.approx((ends[0] - ends[1]) / 2e-6, abs=1e-8)


@pytest.mark.parametrize("words", [0, 1, 2, 6, 9])
@pytest.mark.parametrize("k", [0, 3, 8])
def test_both_ways_back_are_those_of_the_double_loop(words: int, k: int) -> None:
    model, x, y = case(words)
    plain = NumpyRNN(model.U, model.V, model.W)
    pairs = [(model.gradients(x, y, k), plain.gradients(x, y, k))]
    if words:
        pairs.append((model.full_gradients(x, y), full_gradients(model.U, model.V, model.W, x, y)))
    for ours, theirs in pairs:
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11)


def test_the_loss_is_the_mean_of_sentences_means() -> None:
    model, x, y = case(6)
    means = [NumpyRNN.loss(model, [x[:n]], [y[:n]]) for n in (1, 6)]
    assert model.loss([x[:1], x], [y[:1], y]) == pytest.approx(np.mean(means))
    with pytest.raises(ValueError, match="no sentences"):
        model.loss([], [])


@pytest.mark.usefixtures("x64")
def test_the_checks_pass_and_would_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = recipe.check_gates(3) | recipe.check_sentence(3)
    assert len(checks) == len(GATES) + 4
    assert max(checks.values()) < 1e-12
    wrong = OperationGraphRNN.gradients
    monkeypatch.setattr(
        OperationGraphRNN, "gradients", lambda self, x, y, k: wrong(self, x, y, max(k - 1, 0))
    )
    assert recipe.check_sentence(3)["sentence, two loops, 4 words further"] > 1e-3


def sentences() -> text.Sentences:
    lengths = [2, 6, 3, 4, 3, 9]
    rng = np.random.default_rng(1)
    return text.Sentences(
        rng.integers(0, 8, sum(lengths)).astype(np.int32), np.cumsum([0, *lengths])
    )


@pytest.mark.usefixtures("x64")
def test_training_is_the_references_with_the_rate_halved() -> None:
    model, _, _ = case(1)
    data = sentences()
    pairs = tuple(zip(*data.pairs(), strict=True))
    ours, params = word_model(8, 5), from_uvw(model.U, model.V, model.W)
    short = rnn_jax.truncate(ours, rnn_jax.sliding(4))
    evaluate = recipe.mean_of_means(ours, data)
    rate = 1.5  # so high that the loss rises
    rows: list[Evaluation] = []
    last = train(short, params, data, evaluate=evaluate, epochs=5, rate=rate, tell=rows.append)
    history = reference_train(model, *pairs, learning_rate=rate, epochs=5)
    np.testing.assert_allclose([(row.seen, row.loss) for row in rows[:-1]], history, rtol=1e-8)
    rates = [row.rate for row in rows]
    assert rates[0] == rate and rates[-1] < rate
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-7),
        last, from_uvw(model.U, model.V, model.W),
    )  # fmt: skip
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(params))
    assert batched(data, 4).count == 2 and jnp.isfinite(rows[-1].loss)


TEXT = "The cat sat on the mat. It saw the dog and the dog ran away. Why? The mat was warm. " * 5


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A text of a dozen words, and nothing timed for long."""
    documents = text.Documents("made-up", (TEXT,), "", "nowhere")
    monkeypatch.setattr(text, "read_documents", lambda *_, **__: documents)
    monkeypatch.setattr(recipe, "QUICK_LENGTHS", (2, 3))


@pytest.mark.usefixtures("small")
def test_the_recipe_ends_with_its_table(tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "run"
    options = ["--quick", "--hidden-size", "4", "--epochs", "2", "--out", str(out)]
    assert main(["recipe", "operation-graph", *options]) == 0
    printed = capsys.readouterr().out
    assert "Loss after num_examples_seen=20 epoch=1:" in printed
    assert (out / "table.md").read_text() in printed
    files = {"history.jsonl", "table.md", "loss.png", "backward.png"}
    assert {path.name for path in out.iterdir()} == files
    rows = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    assert next(row["loss"] for row in rows if "loss" in row) == pytest.approx(
        math.log(19), abs=0.1
    )
    assert [row["words"] for row in rows if "words" in row] == [2, 3]


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--sentences", "0"], "--sentences must be at least 1"),
        (["--rate", "nan"], "--rate must be finite and above 0"),
        (["--corpus", "nonsense"], "--corpus nonsense is unknown"),
    ],
)
def test_bad_input_is_one_sentence(
    arguments: list[str], words: str, tmp_path: Path, capsys: Any
) -> None:
    code = main(["recipe", "operation-graph", *arguments, "--out", str(tmp_path / "run")])
    err = capsys.readouterr().err
    assert code == 2 and words in err and err.count("\n") == 1
