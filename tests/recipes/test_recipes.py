"""The recipes on a made-up text: what they compute, write and refuse."""

from __future__ import annotations

import json
import signal
from functools import partial
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
from rnn_jax.recipes import RECIPES, next_token, time_machine, war_and_peace_training
from rnn_jax.recipes.fit import fit as recipe_fit
from rnn_jax.recipes.time_machine_models import MODELS
from rnn_jax.training.batches import consecutive

GOLDEN = Path(__file__).parents[1] / "golden" / "next-token.npz"
SENTENCE = "the time traveller for so it will be convenient to speak of him was expounding "


@pytest.fixture
def sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every corpus is one sentence, over and over."""

    def documents(name: str, **_: str) -> text.Documents:
        times = 1300 if name == "war-and-peace" else 200  # a tenth of it must be a batch
        return text.Documents(name, (SENTENCE * times,), "", "nowhere")

    monkeypatch.setattr(text, "read_documents", documents)


@pytest.mark.usefixtures("sentences")
@pytest.mark.parametrize(
    "name, options, figures",
    [
        (
            "time-machine",
            ["--models", "lstm,lstm-both-ways", "--epochs", "2", "--whole-book"],
            {"perplexity", "held-out-perplexity", "gradient-norms"},
        ),
        (
            "time-machine",
            ["--models", "tanh-random,lstm-randomized", "--epochs", "1", "--level", "word"],
            {"perplexity"},
        ),
        ("next-token", ["--quick", "--sentence-length", "5"], {"loss"}),
        ("war-and-peace", ["--quick", "--cell", "gru"], {"loss"}),
    ],
)
def test_a_recipe_writes_its_history_figures_and_table(
    name: str, options: list[str], figures: set[str], tmp_path: Path, capsys: Any
) -> None:
    out = tmp_path / "run"
    assert main(["recipe", name, "--hidden-size", "4", "--out", str(out), *options]) == 0
    files = {"history.jsonl", "table.md", *(f"{figure}.png" for figure in figures)}
    assert {path.name for path in out.iterdir()} == files
    rows = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    assert all(np.isfinite(v) for row in rows for v in row.values() if isinstance(v, float))
    printed = capsys.readouterr().out
    assert (out / "table.md").read_text() in printed
    assert "published" in printed
    assert main(["recipe", name, "--out", str(out)]) == 2  # never overwrites
    assert "exists already" in capsys.readouterr().err


def test_the_command_lists_its_recipes(capsys: Any) -> None:
    assert main(["recipe"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(RECIPES)


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["nonsense"], "nonsense"),
        (["time-machine", "--models", "tanh,mamba"], "--models mamba is unknown"),
        (["time-machine", "--epochs", "0"], "--epochs must be at least 1"),
        (["next-token", "--rate", "0"], "--rate must be finite and above 0"),
        (["next-token", "--seed", "-1"], "--seed must be"),
        (["war-and-peace", "--cell", "mamba"], "'mamba' is not one of 'tanh', 'gru', 'lstm'"),
        (["time-machine", "--level", "page"], "'page' is not one of 'char', 'word'"),
        (["next-token", "--rate", "inf"], "--rate must be finite and above 0, not inf"),
        (["war-and-peace", "--minutes", "-1"], "--minutes must be"),
    ],
)
def test_bad_input_is_one_sentence(
    arguments: list[str], words: str, tmp_path: Path, capsys: Any
) -> None:
    assert main(["recipe", *arguments, *(["--out", str(tmp_path)] if arguments[1:] else [])]) == 2
    err = capsys.readouterr().err
    assert words in err and err.count("\n") == 1
    assert not any(tmp_path.iterdir())


def test_war_and_peace_reads_any_text(tmp_path: Path, capsys: Any) -> None:
    options = ["recipe", "war-and-peace", "--quick", "--hidden-size", "3", "--epochs", "1"]
    (tmp_path / "mine.txt").write_text(SENTENCE * 1300)
    (tmp_path / "mine.csv").write_text("n,words\n1," + SENTENCE * 1300)
    for corpus in (["mine.txt"], ["mine.csv", "--column", "words"]):
        path, out = str(tmp_path / corpus[0]), str(tmp_path / "run" / corpus[0])
        assert main([*options, "--corpus", path, *corpus[1:], "--out", out]) == 0
        assert "80,000 characters to train on" in capsys.readouterr().out


def test_a_refusal_leaves_no_empty_folder(tmp_path: Path, capsys: Any) -> None:
    given = tmp_path / "given"
    given.mkdir()
    for out in (tmp_path / "new", given):
        options = ["--corpus", str(tmp_path / "none.txt"), "--out", str(out)]
        assert main(["recipe", "war-and-peace", *options]) == 2
        assert "none.txt does not exist" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["given"]


def test_consecutive_rows_continue_from_window_to_window() -> None:
    ids = np.arange(50)
    data = consecutive(ids, 3, 4)
    assert data.inputs.shape == (4, 4, 3)
    rows = np.asarray(data.inputs).transpose(2, 0, 1).reshape(3, -1)
    np.testing.assert_array_equal(rows.ravel(), ids[:48])
    np.testing.assert_array_equal(data.targets, data.inputs + 1)
    with pytest.raises(ValueError, match="too few for 10 rows of 5"):
        consecutive(ids, 10, 5)


@pytest.mark.usefixtures("sentences")
def test_time_machine_is_sgd_with_the_state_carried_and_begun_anew() -> None:
    book = time_machine.read_book("char", whole=False)
    kept: list[Any] = []
    got = time_machine.train("tanh", book, kept.append, hidden_size=5, epochs=2, seed=3)
    assert got.rows == kept
    model = r.language_model(len(book.vocabulary), MODELS["tanh"].layer(5))
    params = model.init(jax.random.key(3))

    @jax.jit
    def step(params: Any, carry: Any, x: Any, y: Any) -> Any:
        def loss(params: Any) -> Any:
            new, logits = model.apply(params, carry, x)
            return r.cross_entropy(logits, y), new

        (value, carry), grads = jax.value_and_grad(loss, has_aux=True)(params)
        scale = 1 / jnp.maximum(1, optax.tree.norm(grads))
        return value, carry, jax.tree.map(lambda p, g: p - scale * g, params, grads)

    for epoch in (1, 2):
        data, carry, losses = book.epoch(3, epoch, random=False), None, []
        for x, y in zip(data.inputs, data.targets, strict=True):
            carry = model.initial_carry((32,)) if carry is None else carry
            value, carry, params = step(params, carry, x, y)
            losses.append(float(value))
        assert got.rows[epoch - 1]["perplexity"] == pytest.approx(np.exp(np.mean(losses)), 1e-4)


@pytest.mark.usefixtures("sentences")
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("last", [1, 3])
def test_a_signal_ends_the_recipe_and_not_just_its_model(
    signum: signal.Signals, last: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def report(row: dict[str, Any]) -> None:
        if row["epoch"] == last:
            signal.raise_signal(signum)

    monkeypatch.setattr(time_machine, "report", report)
    out = tmp_path / "run"
    options = ["--hidden-size", "3", "--models", "tanh,gru", "--epochs", "3", "--out", str(out)]
    assert main(["recipe", "time-machine", *options]) == 130
    rows = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    told = [(row["model"], row["epoch"]) for row in rows]
    assert told == [("tanh", epoch) for epoch in range(1, last + 1)]


@pytest.mark.usefixtures("sentences")
def test_a_training_that_diverges_is_one_sentence(tmp_path: Path, capsys: Any) -> None:
    options = ["--quick", "--hidden-size", "3", "--sentence-length", "5", "--rate", "1e38"]
    assert main(["recipe", "next-token", *options, "--out", str(tmp_path / "run")]) == 2
    err = capsys.readouterr().err
    assert "the training diverges" in err and err.count("\n") == 1


def test_steps_that_are_left_out_are_told(capsys: Any) -> None:
    model = r.language_model(5, r.recurrent(r.elman(3)))
    data = consecutive(np.arange(97) % 5, 2, 8)
    first = np.asarray(data.targets)[:, 0, 0]
    assert first.tolist() == [1, 4, 2, 0, 3, 1]

    def without(ids: list[int]) -> Any:
        def loss(logits: Any, targets: Any, mask: Any = None) -> Any:
            bad = jnp.isin(targets[0, 0], jnp.array(ids))
            return r.cross_entropy(logits, targets) + jnp.where(bad, jnp.nan, 0.0)

        return loss

    options: dict[str, Any] = {"epochs": 2, "key": jax.random.key(0)}
    recipe_fit(model, optax.sgd(0.1), data, loss=without([1, 2]), **options)
    told = "steps left out since the last row, whose loss or gradient was not finite: 3"
    assert [line.strip() for line in capsys.readouterr().out.splitlines()] == [told, told]
    with pytest.raises(ValueError, match=r"the training diverges: .* at step 6"):
        recipe_fit(model, optax.sgd(0.1), data, loss=without([0, 1, 2, 3, 4]), **options)


@pytest.mark.usefixtures("sentences")
def test_epochs_of_one_shape_hold_the_batches_of_each() -> None:
    book = time_machine.read_book("char", whole=False)
    for random in (False, True):
        epochs = book.epochs(3, random=random)
        for done in range(4):
            data, count = epochs(done)
            wanted = book.epoch(3, done + 1, random=random)
            assert count == wanted.count and data.inputs.shape == epochs(0)[0].inputs.shape
            np.testing.assert_array_equal(data.inputs[:count], wanted.inputs)
            np.testing.assert_array_equal(data.targets[:count], wanted.targets)


@pytest.mark.usefixtures("sentences")
def test_gradient_norms_survive_squares_too_small_for_float32() -> None:
    book = time_machine.read_book("char", whole=False)
    model = r.language_model(len(book.vocabulary), MODELS["lstm"].layer(4))
    params = model.init(jax.random.key(0))
    data = book.epoch(0, 0, random=False)

    def loss(params: Any) -> Any:
        return r.cross_entropy(model.apply(params, None, data.inputs[0])[1], data.targets[0])

    layers = jax.jit(jax.grad(loss))(params)["layer"]
    expected = float(optax.tree.norm(layers["0"]))
    assert time_machine.gradient_norms(model, params, book, 0) == pytest.approx([expected], 1e-5)
    params["readout"]["w"] *= 1e-30
    assert 0 < time_machine.gradient_norms(model, params, book, 0)[0] < 1e-25


def test_next_token_equals_keras() -> None:
    with np.load(GOLDEN) as file:
        golden = {name: jnp.asarray(array) for name, array in file.items()}

    def parameters(when: str) -> Any:
        w_ih, w_hh, b, w, bias = (golden[f"{when}/{i}"] for i in range(5))
        return {"layer": {"w_ih": w_ih, "w_hh": w_hh, "b": b}, "readout": {"w": w, "b": bias}}

    model = next_token.many_to_one(7, 4)
    optimizer = next_token.keras_rmsprop(0.01)
    state = r.init_train_state(model, optimizer, parameters("before"))
    step = jax.jit(r.make_train_step(model, optimizer))
    tokens = golden["tokens"].swapaxes(1, 2)
    _, logits = jax.jit(model.apply)(state.params, None, tokens[0, :-1])
    np.testing.assert_allclose(jax.nn.softmax(logits), golden["probabilities"], rtol=1e-5)
    for batch, expected in zip(tokens, golden["losses"], strict=True):
        state, metrics = step(state, r.Batch(batch[:-1], batch[-1]))
        assert float(metrics["loss"]) == pytest.approx(float(expected), 1e-5)
    jax.tree.map(
        lambda ours, theirs: np.testing.assert_allclose(ours, theirs, atol=2e-6),
        state.params, parameters("after"),
    )  # fmt: skip


def test_keras_parameters_are_drawn_over_all_gates_at_once() -> None:
    params = next_token.keras_parameters(jax.random.key(0), next_token.many_to_one(9, 6))
    layer = params["layer"]
    np.testing.assert_allclose(layer["w_hh"] @ layer["w_hh"].T, np.eye(6), atol=1e-5)
    np.testing.assert_array_equal(layer["b"], np.repeat([0.0, 1.0, 0.0, 0.0], 6))
    bound = np.sqrt(6 / (9 + 24))
    assert 0.9 * bound < np.abs(layer["w_ih"]).max() <= bound


def war_and_peace(cell: str, layers: int) -> tuple[Any, Any, Any]:
    """A model, its parameters and three batches."""
    model = war_and_peace_training.make_model(11, cell, 6, layers)
    ids = np.random.default_rng(0).integers(0, 11, 121)
    params = war_and_peace_training.initial_parameters(model, 0)
    return model, params, consecutive(ids, 4, 10)


def test_war_and_peace_decays_the_rate_after_ten_epochs() -> None:
    rates = [war_and_peace_training.learning_rate(epoch) for epoch in (1, 10, 11, 12)]
    np.testing.assert_allclose(rates, [2e-3, 2e-3, 2e-3 * 0.95, 2e-3 * 0.95**2], rtol=1e-6)


def test_war_and_peace_stops_when_the_time_is_over() -> None:
    model, params, data = war_and_peace("tanh", 1)
    assert all(np.abs(leaf).max() <= 0.08 for leaf in jax.tree.leaves(params))
    epochs: list[war_and_peace_training.Epoch] = []
    war_and_peace_training.train(
        model, params, data, lambda _: 1.0, epochs.append, epochs=9, seconds=1e-9
    )
    assert [epoch.number for epoch in epochs] == [1]


@pytest.mark.parametrize("cell, layers", [("lstm", 1), ("gru", 2)])
def test_war_and_peace_trains_as_pytorch_does(cell: str, layers: int) -> None:
    pytest.importorskip("torch").set_num_threads(1)
    from rnn_jax.recipes.war_and_peace_torch import train_in_torch

    model, params, data = war_and_peace(cell, layers)
    told: dict[str, list[war_and_peace_training.Epoch]] = {"ours": [], "theirs": []}
    seen: dict[str, list[Any]] = {"ours": [], "theirs": []}

    def validate(whose: str, params: Any) -> float:
        """The last epoch is the best one."""
        seen[whose].append(jax.device_get(params))
        return -float(len(seen[whose]))

    best = {
        "ours": war_and_peace_training.train(
            model, params, data, partial(validate, "ours"), told["ours"].append,
            epochs=2, seconds=1e9,
        ),
        "theirs": train_in_torch(
            model, cell, params, data, partial(validate, "theirs"), told["theirs"].append,
            steps=[3, 3],
        ),
    }  # fmt: skip
    for a, b in zip(told["ours"], told["theirs"], strict=True):
        assert (a.number, a.steps) == (b.number, b.steps)
        assert a.train_loss == pytest.approx(b.train_loss, 1e-5)
    for before in seen.values():
        before.pop(0)  # of the given parameters
    pairs = zip([*seen["ours"], best["ours"]], [*seen["theirs"], best["theirs"]], strict=True)
    for mine, other in pairs:
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=2e-4), mine, other)
    jax.tree.map(np.testing.assert_array_equal, best["ours"], seen["ours"][-1])
