"""Stacks of 32 layers: what reaches the lowest one, and the recipe that compares them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rnn_jax as r
from rnn_jax import text
from rnn_jax.cli import main
from rnn_jax.recipes import deep_stack, time_machine
from rnn_jax.recipes.time_machine_models import MODELS

SENTENCE = "the time traveller for so it will be convenient to speak of him was expounding "


@pytest.fixture
def sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every corpus is one sentence, over and over."""
    documents = text.Documents("time-machine", (SENTENCE * 200,), "", "nowhere")
    monkeypatch.setattr(text, "read_documents", lambda name, **_: documents)


@pytest.mark.parametrize("name", deep_stack.STACKS)
def test_every_stack_has_its_depth(name: str) -> None:
    stack = deep_stack.STACKS[name][1](3, 5)
    params = jax.eval_shape(lambda key: stack.init(key, 7), jax.random.key(0))
    assert {leaf.shape[0] for leaf in jax.tree.leaves(params["1"])} == {4}
    _, ys = jax.eval_shape(lambda p: stack.apply(p, None, jnp.zeros((2, 1), int)), params)
    assert ys.shape == (2, 1, 3)


def test_layers_repeated_are_those_layers_in_a_row() -> None:
    layer = r.residual(r.serial(r.layer_norm(), r.recurrent(r.lstm(3))))
    repeated, row = deep_stack.Repeated(layer, 4), r.serial(*[layer] * 4)
    params = repeated.init(jax.random.key(0), 3)
    rows = {str(i): jax.tree.map(lambda leaf, i=i: leaf[i], params) for i in range(4)}
    xs = jnp.asarray(np.random.default_rng(0).normal(size=(5, 2, 3)))
    _, ours = repeated.apply(params, None, xs)
    _, theirs = row.apply(rows, None, xs)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    assert not np.allclose(rows["0"]["1"]["w_hh"], rows["1"]["1"]["w_hh"])


@pytest.mark.usefixtures("sentences")
def test_gradients_reach_the_lowest_of_32_layers_by_residual_connections_alone() -> None:
    book = time_machine.read_book("char", whole=False)
    found = {}
    for name in ("plain", "residual"):
        stack = deep_stack.STACKS[name][1](8, 32)
        model = r.language_model(len(book.vocabulary), stack)
        params = jax.jit(model.init)(jax.random.key(0))
        found[name] = deep_stack.gradient_norms(model, params, book, 0)
        assert len(found[name]) == 32
    assert 0 < found["plain"][0] < 1e-12 * found["plain"][-1]
    assert 0.1 < found["residual"][0] / found["residual"][-1] < 10


def test_the_model_of_time_machine_is_that_stack() -> None:
    spec = MODELS["lstm-32-residual"]
    layer: Any = spec.layer(3)
    assert [type(part).__name__ for part in layer.layers] == ["Recurrent"] + ["Residual"] * 31
    assert spec.optimizer is optax.adam and spec.share < 1
    plain: Any = MODELS["lstm-32"].layer(3)
    assert [part.layer for part in layer.layers[1:]] == list(plain.layers[1:])
    params = jax.eval_shape(lambda key: layer.init(key, 5), jax.random.key(0))
    assert len(params) == 32


@pytest.mark.usefixtures("sentences")
def test_the_recipe_compares_stacks(tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "run"
    options = ["--quick", "--hidden-size", "3", "--depth", "3", "--epochs", "1"]
    arguments = ["recipe", "deep-stack", "--stacks", "residual-scaled", "--optimizer", "sgd"]
    assert main([*arguments, *options, "--out", str(out)]) == 0
    files = {"history.jsonl", "table.md", "gradient-norms.png", "perplexity.png"}
    assert {path.name for path in out.iterdir()} == files
    rows = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    assert [len(row["gradient_norms"]) for row in rows[::2]] == [2, 3]
    assert all(np.isfinite(row["perplexity"]).all() for row in rows[1::2])
    table = (out / "table.md").read_text()
    assert table in capsys.readouterr().out and "published" in table


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--stacks", "plain,highway"], "--stacks highway is unknown"),
        (["--depth", "1"], "--depth must be at least 2"),
        (["--optimizer", "lion"], "'lion' is not one of 'adam', 'sgd'"),
    ],
)
def test_bad_input_is_one_sentence(
    arguments: list[str], words: str, tmp_path: Path, capsys: Any
) -> None:
    assert main(["recipe", "deep-stack", *arguments, "--out", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert words in err and err.count("\n") == 1
    assert not any(tmp_path.iterdir())
