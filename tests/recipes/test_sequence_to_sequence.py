"""The recipe sequence-to-sequence: its tasks, its loss, and what a run leaves."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rnn_jax
from rnn_jax.recipes import create_recipe_folder
from rnn_jax.recipes import sequence_to_sequence as recipe
from rnn_jax.recipes.pairs import Pairs, additions, dates, encode
from tests.cases import quick_jit


def test_dates_to_test_on_are_never_trained_on() -> None:
    pairs = dates(np.random.default_rng(0), 3000)
    assert pairs.train == 2700
    assert not set(pairs.targets[: pairs.train]) & set(pairs.targets[pairs.train :])
    for source, target in zip(pairs.sources, pairs.targets, strict=True):
        day = datetime.date.fromisoformat(target)
        assert str(day.year) in source and str(day.day) in source
    assert any("Wed" in source for source in pairs.sources)


def test_sums_are_right_and_no_question_comes_twice() -> None:
    pairs = additions(np.random.default_rng(0), 2000)
    questions = [tuple(map(int, source[::-1].split("+"))) for source in pairs.sources]
    assert [str(sum(question)) for question in questions] == pairs.targets
    assert len({tuple(sorted(question)) for question in questions}) == 2000
    assert max(map(max, questions)) > 900


def test_an_epoch_steps_down_the_loss_of_unpadded_strings() -> None:
    encoded, sources, targets = encode(Pairs(["ab", "c", "bca"], ["xy", "x", "yxy"], 3))
    model = recipe.reader_and_writer(len(sources) + 1, len(targets) + 1, 4)
    params = model.init(jax.random.key(0))

    def by_hand(params: Any) -> Any:
        total, count = jnp.zeros(()), 0
        for i, (read, written) in enumerate([(2, 2), (1, 1), (3, 3)]):
            source = encoded.sources[:read, i]
            target = encoded.targets[: written + 2, i]
            _, logits = model.apply(params, model.encode(params, source), target[:-1])
            total += rnn_jax.cross_entropy(logits, target[1:], reduction="sum")
            count += len(target) - 1
        return total / count

    optimizer = optax.sgd(0.1)
    value, grads = quick_jit(jax.value_and_grad(by_hand), ())(params)
    expected = optax.apply_updates(params, jax.tree.map(lambda g: -0.1 * g, grads))
    data = recipe.batches(encoded.part(jnp.array([2, 0, 1])), 3)
    state, history = rnn_jax.fit(model, optimizer, data, steps=1, epochs=1, params=params)
    np.testing.assert_allclose(history.rows[0]["train_loss"], value, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), state.params, expected)


def test_batches_are_the_strings_in_their_order() -> None:
    encoded, _, _ = encode(Pairs(["ab", "c", "bca", "a", "b"], ["xy", "x", "yxy", "y", "x"], 5))
    data: Any = recipe.batches(encoded, 2)  # the fifth is left out
    assert data.count == 2 and data.batch_size == 2
    for index in range(2):
        rows = slice(2 * index, 2 * index + 2)
        np.testing.assert_array_equal(data.source[index], encoded.sources[:, rows])
        np.testing.assert_array_equal(data.inputs[index], encoded.targets[:-1, rows])
        np.testing.assert_array_equal(data.targets[index], encoded.targets[1:, rows])
        assert data.source_mask[index].sum(0).tolist() == encoded.source_lengths[rows].tolist()
        assert data.mask[index].sum(0).tolist() == encoded.target_lengths[rows].tolist()


def test_a_run_leaves_history_a_figure_and_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipe, "QUICK_EXAMPLES", 200)
    monkeypatch.setattr(recipe, "BATCH", 30)
    folder = create_recipe_folder(str(tmp_path / "run"))
    recipe.run(recipe.Options(quick=True, task="addition", epochs=2, hidden_size=8), folder)
    names = {path.name for path in folder.path.iterdir()}
    assert names == {"history.jsonl", "training.png", "table.md"}
    rows = [json.loads(row) for row in (folder.path / "history.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2]
    assert rows[1]["train_loss"] < rows[0]["train_loss"]
    printed = capsys.readouterr().out
    assert "4 beams" in printed and (folder.path / "table.md").read_text().strip() in printed


@pytest.mark.parametrize(
    "options, message",
    [
        ({"task": "poems"}, "--task must be one of dates, addition, not poems"),
        ({"epochs": -1}, "--epochs must be at least 0"),
        ({"hidden_size": 1}, "--hidden-size must be at least 2"),
        ({"rate": float("inf")}, "--rate must be finite"),
    ],
)
def test_bad_input(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        recipe.Options(**options)
