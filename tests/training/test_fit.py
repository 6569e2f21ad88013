"""`fit`: equal to the steps it is made of, exact when resumed, and not to be put off by faults."""

from __future__ import annotations

import contextlib
import errno
import itertools
import signal
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rnn_jax
from rnn_jax.training import Diverged, Progress, consecutive

KEY = jax.random.key(3)
LAYER = rnn_jax.serial(rnn_jax.recurrent(rnn_jax.gru(8)), rnn_jax.dropout(0.3))
MODEL = rnn_jax.language_model(20, LAYER, embedding_size=5)
OPTIMIZER = optax.inject_hyperparams(optax.adam)(learning_rate=0.02)
STREAM = np.random.default_rng(0).integers(0, 20, 600)
DATA = consecutive(STREAM[:500], batch_size=4, seq_length=6)
VALIDATION = consecutive(STREAM[450:], batch_size=4, seq_length=6)
COMMON: dict[str, Any] = {"key": KEY, "validation": VALIDATION, "stateful": True}


class At:
    """A listener that does something at a step, once."""

    def __init__(self, step: int, act: Callable[[], Any]) -> None:
        self.step, self.act, self.done = step, act, False
        self.heard: list[Progress] = []
        self.rows: list[dict[str, Any]] = []

    def progress(self, progress: Progress) -> None:
        self.heard.append(progress)
        if progress.step >= self.step and not self.done:
            self.done = True
            self.act()

    def evaluated(self, row: dict[str, Any], params: Any) -> None:
        self.rows.append(row)


def ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


def losses(history: rnn_jax.training.History) -> list[Any]:
    return [(row["step"], row["train_loss"], row["loss"]) for row in history.rows]


def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Save whenever no other file is being written, whatever it costs."""
    monkeypatch.setattr(sys.modules["rnn_jax.training.session"], "_SHARE", np.inf)


def fit(*args: Any, **options: Any) -> Any:
    return rnn_jax.fit(MODEL, OPTIMIZER, *args, **{**COMMON, **options})


def test_it_is_the_loop_of_its_steps(x64: None) -> None:
    model = rnn_jax.truncate(MODEL, rnn_jax.chunked(2))
    params = model.init(jax.random.key(1))
    state, history = rnn_jax.fit(
        model, OPTIMIZER, DATA, epochs=2, params=params, **{**COMMON, "stateful": True}
    )
    step = jax.jit(rnn_jax.make_train_step(model, OPTIMIZER))
    wanted = rnn_jax.init_train_state(model, OPTIMIZER, params, batch_shape=(4,))
    noise, means = jax.random.fold_in(KEY, 1), []
    for _ in range(2):
        wanted = wanted._replace(carry=model.initial_carry((4,), wanted.params))
        seen = []
        for index in range(DATA.count):
            batch = rnn_jax.Batch(DATA.inputs[index], DATA.targets[index])
            key = jax.random.fold_in(noise, wanted.step)
            wanted, metrics = step(wanted, batch, key=key)
            seen.append(float(metrics["loss"]))
        means.append(np.mean(seen))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-12), state.params, wanted.params)
    assert int(state.step) == 2 * DATA.count
    nats, tokens = rnn_jax.make_evaluate(model)(
        state.params, VALIDATION, model.initial_carry((4,), params)
    )
    assert history.rows[-1]["loss"] == pytest.approx(float(nats) / int(tokens), rel=1e-12)
    assert [row["train_loss"] for row in history.rows[1:]] == pytest.approx(means, rel=1e-12)
    assert history.ended == "done"
    # The parameters are the caller's still.
    assert not jax.tree.leaves(params)[0].is_deleted()


@pytest.mark.parametrize("at", [0, 1, 5, 20, 33])
def test_a_resumed_training_ends_in_the_same_bits(tmp_path: Path, at: int) -> None:
    options: dict[str, Any] = {"epochs": 3, "evaluate_every_steps": 7, "patience": 50}
    whole, told = fit(DATA, **options, folder=tmp_path / "whole")
    stop = At(at, ctrl_c)
    parts, cut = fit(DATA, **options, folder=tmp_path / "parts", listeners=[stop])
    assert cut.ended == "interrupted" and int(parts.step) < int(whole.step)
    with pytest.raises(ValueError, match="holds a training already: go on with resume=True"):
        fit(DATA, **options, folder=tmp_path / "parts")
    parts, history = fit(DATA, **options, folder=tmp_path / "parts", resume=True)
    jax.tree.map(np.testing.assert_array_equal, parts, whole)
    assert losses(history) == losses(told) and history.ended == "done"
    jax.tree.map(np.testing.assert_array_equal, history.best_params, told.best_params)
    for name in ("parameters.safetensors", "best.safetensors", "checkpoint.safetensors"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()


def test_sigterm_saves_and_ends_the_process(tmp_path: Path) -> None:
    for number in (signal.SIGTERM, signal.SIGHUP):
        folder = tmp_path / number.name
        stop = At(4, partial(signal.raise_signal, number))
        with pytest.raises(SystemExit) as end:
            fit(DATA, epochs=2, folder=folder, listeners=[stop])
        assert end.value.code == 128 + number
        state, _ = fit(DATA, epochs=2, folder=folder, resume=True)
        whole, _ = fit(DATA, epochs=2)
        jax.tree.map(np.testing.assert_array_equal, state, whole)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.parametrize("at", [20, 21, 60, 62])
@pytest.mark.parametrize("act", ["interrupt", "fail"])
def test_nothing_is_lost_at_the_end_of_an_epoch_or_of_all(
    tmp_path: Path, at: int, act: str
) -> None:
    """What stops training in the last block of an epoch, and after the last step of all."""
    options: dict[str, Any] = {"steps": 62, "evaluate_every_steps": 21}
    whole, told = fit(DATA, **options)

    def fail() -> None:
        raise RuntimeError

    stop = At(at, ctrl_c if act == "interrupt" else fail)
    with contextlib.suppress(RuntimeError):
        fit(DATA, **options, folder=tmp_path, listeners=[stop])
    state, history = fit(DATA, **options, folder=tmp_path, resume=True)
    jax.tree.map(np.testing.assert_array_equal, state, whole)
    assert losses(history) == losses(told)


def test_a_gradient_too_large_for_its_square_is_left_out() -> None:
    data = features(10)
    large = data.inputs.at[4].multiply(1e30)
    data = rnn_jax.Windows(large, data.targets)
    linear = rnn_jax.sequence_tagger(3, rnn_jax.linear(3), input_size=2)
    state, history = rnn_jax.fit(linear, optax.adam(0.1), data, epochs=2, key=KEY)
    assert history.ended == "done" and history.rows[-1]["skipped"] == 1
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))


def test_states_of_optimisers_with_keys_and_infinities(tmp_path: Path) -> None:
    optimizer = optax.chain(
        optax.add_noise(0.01, 0.1, jax.random.key(1)),
        optax.adam(0.01),
        optax.contrib.reduce_on_plateau(accumulation_size=100),
    )
    options: Any = {"key": KEY, "validation": VALIDATION}
    whole, _ = rnn_jax.fit(MODEL, optimizer, DATA, epochs=2, **options)
    rnn_jax.fit(MODEL, optimizer, DATA, epochs=1, folder=tmp_path, **options)
    state, history = rnn_jax.fit(
        MODEL, optimizer, DATA, epochs=2, folder=tmp_path, resume=True, **options
    )
    assert history.ended == "done"
    jax.tree.map(np.testing.assert_array_equal, state.params, whole.params)
    MODEL.apply(history.best_params, None, DATA.inputs[0])


def test_a_rate_from_outside_is_set_once(tmp_path: Path) -> None:
    options: Any = {"folder": tmp_path, "on_evaluation": [rnn_jax.halve()]}
    fit(DATA, epochs=1, **options)
    again: Any = {**options, "resume": True, "learning_rate": 5.0}
    _, first = fit(DATA, epochs=4, **again)
    _, second = fit(DATA, epochs=5, **again)
    rates = [row["learning_rate"] for row in second.rows]
    assert rates[:5] == [row["learning_rate"] for row in first.rows]
    assert rates[2] == 5.0 and rates[-1] < 5.0  # halved, and not set anew


def test_what_is_damaged_goes_before_what_is_sound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    often(monkeypatch)
    fit(DATA, epochs=2, folder=tmp_path)
    newest = tmp_path / "checkpoint.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1] + b"x")
    with pytest.warns(UserWarning, match="is used instead"):
        fit(DATA, epochs=2, folder=tmp_path, resume=True, listeners=[At(25, ctrl_c)])
    kept = sorted(path.name for path in tmp_path.glob("checkpoint*"))
    newest.write_bytes(newest.read_bytes()[:-1] + b"x")
    with pytest.warns(UserWarning, match="is used instead"):
        state, _ = fit(DATA, epochs=2, folder=tmp_path, resume=True)
    whole, _ = fit(DATA, epochs=2)
    jax.tree.map(np.testing.assert_array_equal, state, whole)
    assert len(kept) == 2 and "checkpoint-40.safetensors" not in kept


TAGGER = rnn_jax.sequence_tagger(3, rnn_jax.recurrent(rnn_jax.gru(6)), input_size=2)


def features(count: int, bad: tuple[int, ...] = ()) -> rnn_jax.Windows:
    inputs = jax.random.normal(jax.random.key(0), (count, 5, 4, 2))
    for index in bad:
        inputs = inputs.at[index, 2, 1, 0].set(jnp.nan)
    return rnn_jax.Windows(inputs, jnp.argmax(jnp.cumsum(inputs, 1), -1))


def without(data: rnn_jax.Windows, bad: tuple[int, ...]) -> rnn_jax.Windows:
    kept = np.array([index for index in range(data.count) if index not in bad])
    return jax.tree.map(lambda leaf: leaf[kept], data)


@pytest.mark.parametrize(
    "optimizer, stateful",
    [
        (rnn_jax.sgd(0.1), True),
        (optax.adam(0.1), False),
        (optax.chain(optax.clip(1.0), optax.sgd(0.1, momentum=0.9)), True),
    ],
    ids=["sgd", "adam", "clip and momentum"],
)
def test_steps_that_are_not_finite_change_nothing(
    optimizer: optax.GradientTransformation, stateful: bool
) -> None:
    bad = (0, 3, 4, 9)
    data = features(10, bad)
    options: Any = {"epochs": 1, "key": KEY, "stateful": stateful}
    state, history = rnn_jax.fit(TAGGER, optimizer, data, **options)
    wanted, told = rnn_jax.fit(TAGGER, optimizer, without(data, bad), **options)
    jax.tree.map(np.testing.assert_array_equal, state.params, wanted.params)
    jax.tree.map(np.testing.assert_array_equal, state.opt_state, wanted.opt_state)
    jax.tree.map(np.testing.assert_array_equal, state.carry, wanted.carry)
    assert int(state.step) == 10
    assert history.rows[-1]["skipped"] == 4 and told.rows[-1]["skipped"] == 0
    assert history.rows[-1]["train_loss"] == told.rows[-1]["train_loss"]
    assert history.rows[-1]["tokens"] == told.rows[-1]["tokens"] == 6 * 20


def test_many_in_a_row_end_it_with_the_last_good_state(tmp_path: Path) -> None:
    data = features(12, tuple(range(6, 12)))
    good, _ = rnn_jax.fit(TAGGER, optax.adam(0.1), data, steps=6, key=KEY)
    assert int(good.step) == 6
    options: Any = {"epochs": 4, "key": KEY, "skipped_limit": 4}
    with pytest.warns(Diverged, match="4 steps in a row"):
        state, history = rnn_jax.fit(TAGGER, optax.adam(0.1), data, folder=tmp_path, **options)
    assert history.ended == "diverged" and history.step == 10
    jax.tree.map(np.testing.assert_array_equal, state.params, good.params)
    # A run of bad batches that is shorter is gone through.
    state, history = rnn_jax.fit(TAGGER, optax.adam(0.1), data, **{**options, "skipped_limit": 7})
    assert history.ended == "done" and history.rows[-1]["skipped"] == 6


def test_a_divergence_leaves_the_last_state_with_a_finite_loss(tmp_path: Path) -> None:
    model = rnn_jax.language_model(
        20, rnn_jax.recurrent(rnn_jax.elman(8, activation=jax.nn.relu)), embedding_size=5
    )
    with pytest.warns(Diverged):
        state, history = rnn_jax.fit(
            model, rnn_jax.sgd(1e30), DATA, epochs=2, key=KEY, folder=tmp_path,
            validation=VALIDATION,
        )  # fmt: skip
    assert int(state.step) == 0 and np.isfinite(history.rows[-1]["loss"])
    nats, _ = rnn_jax.make_evaluate(model)(state.params, VALIDATION)
    assert np.isfinite(nats)


def test_early_stopping_and_the_best_parameters() -> None:
    """Batches without any structure: the validation loss rises once they are learned by heart."""
    optimizer = optax.adam(0.05)
    _, history = rnn_jax.fit(
        MODEL, optimizer, DATA, epochs=60, key=KEY, validation=VALIDATION, patience=3
    )
    found = [row["loss"] for row in history.rows]
    assert history.ended == "no better" and len(found) < 60
    assert len(found) - 1 - int(np.argmin(found)) == 3
    nats, tokens = rnn_jax.make_evaluate(MODEL)(history.best_params, VALIDATION)
    assert float(nats) / int(tokens) == pytest.approx(min(found), rel=1e-6)


def test_rules_steer_the_optimiser_and_are_replayed(tmp_path: Path) -> None:
    def halve_at_every_second(losses: Any, opt_state: Any) -> Any:
        rate = optax.tree_utils.tree_get(opt_state, "learning_rate")
        factor = 0.5 if len(losses) % 2 == 0 else 1.0
        return optax.tree_utils.tree_set(opt_state, learning_rate=rate * factor)

    options: Any = {"epochs": 5, "on_evaluation": [halve_at_every_second]}
    _, history = fit(DATA, **options)
    rates = [row["learning_rate"] for row in history.rows]
    assert rates == pytest.approx([0.02, 0.02, 0.01, 0.01, 0.005, 0.005])
    fit(DATA, **options, folder=tmp_path, listeners=[At(30, ctrl_c)])
    _, again = fit(DATA, **options, folder=tmp_path, resume=True)
    assert losses(again) == losses(history)
    with pytest.raises(ValueError, match="optimiser's state holds no learning rate"):
        rnn_jax.fit(MODEL, optax.adam(0.1), DATA, epochs=1, key=KEY, learning_rate=0.1)


def test_data_by_epoch_and_a_number_of_steps() -> None:
    asked: list[int] = []

    def data(epoch: int) -> Any:
        asked.append(epoch)
        rolled = jax.tree.map(lambda leaf: jnp.roll(leaf, epoch, 0), DATA)
        return rolled, DATA.count - 2  # the last two are padding

    state, history = fit(data, steps=2 * (DATA.count - 2) + 3)
    assert sorted(set(asked)) == [0, 1, 2] and int(state.step) == 2 * DATA.count - 1
    assert [row["epoch"] for row in history.rows] == pytest.approx(
        [0, 1, 2, 2 + 3 / (DATA.count - 2)]
    )


def test_a_classifier_and_an_encoder_decoder_learn() -> None:
    ids = jax.random.randint(jax.random.key(0), (30, 7, 8), 1, 12)
    lengths = jax.random.randint(jax.random.key(1), (30, 8), 1, 8)
    mask = jax.vmap(lambda n: rnn_jax.length_mask(n, 7))(lengths)
    reader = rnn_jax.serial(rnn_jax.embedding(6), rnn_jax.recurrent(rnn_jax.gru(12)))
    classifier = rnn_jax.sequence_classifier(12, reader, input_size=12)
    first = rnn_jax.Windows(ids, ids[:, 0], mask)
    state, history = rnn_jax.fit(
        classifier, optax.adam(0.02), first, epochs=40, key=KEY, validation=first
    )
    assert history.rows[-1]["loss"] < 0.1 < 2 < history.rows[0]["loss"]
    assert history.rows[-1]["tokens"] == 40 * 30 * 8  # a label a row
    writer = rnn_jax.language_model(12, rnn_jax.recurrent(rnn_jax.gru(12)), embedding_size=6)
    copier = rnn_jax.encoder_decoder(12, reader, writer)
    start = jnp.zeros((30, 1, 8), int)
    pairs = rnn_jax.Windows(
        jnp.concatenate([start, ids[:, :2]], 1), ids[:, :3], None, None, ids[:, :3]
    )
    # With a rate that stays as it is the last steps are as rough as rounding has them.
    optimizer = optax.adam(optax.cosine_decay_schedule(0.02, 60 * pairs.count))
    state, history = rnn_jax.fit(copier, optimizer, pairs, epochs=60, key=KEY, validation=pairs)
    assert history.rows[-1]["loss"] < 0.1 < 2 < history.rows[0]["loss"]
    carry = copier.encode(state.params, ids[0, :3])
    logits = copier.apply(state.params, carry, pairs.inputs[0])[1]
    assert jnp.mean(logits.argmax(-1) == ids[0, :3]) > 0.9


def test_without_validation_there_is_a_row_an_epoch() -> None:
    _, history = fit(DATA, epochs=2, validation=None)
    assert [(row["epoch"], row["loss"]) for row in history.rows] == [(1, None), (2, None)]
    assert history.rows[0]["train_loss"] > history.rows[1]["train_loss"]
    assert history.best_params is None


def test_a_damaged_checkpoint_is_said_and_the_one_before_it_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = fit(DATA, epochs=3)
    often(monkeypatch)
    fit(DATA, epochs=3, folder=tmp_path, keep=3, save_every=1e-9, listeners=[At(45, ctrl_c)])
    names = sorted(path.name for path in tmp_path.glob("checkpoint*"))
    assert len(names) == 3
    newest = tmp_path / "checkpoint.safetensors"
    content = bytearray(newest.read_bytes())
    content[-100] ^= 4  # in a weight
    newest.write_bytes(content)
    with pytest.warns(UserWarning, match=r"is damaged: .*; the one of step \d+ is used instead"):
        state, _ = fit(DATA, epochs=3, folder=tmp_path, resume=True)
    jax.tree.map(np.testing.assert_array_equal, state, whole)
    for path in tmp_path.glob("checkpoint*"):
        path.write_bytes(b"")
    with pytest.raises(
        ValueError, match=r"is not a readable .* \(checkpoint-\d+\.safetensors, from before it"
    ):
        fit(DATA, epochs=3, folder=tmp_path, resume=True)


def test_a_full_disk_does_not_end_training(tmp_path: Path, monkeypatch: Any) -> None:
    store = sys.modules["rnn_jax.training.store"]
    save, full, again = store.save_noted, False, False

    def save_noted(path: Path, *args: Any) -> None:
        nonlocal full
        if full and path.name == "checkpoint.safetensors":
            full = again
            raise ValueError(f"cannot write {path} ({errno.ENOSPC}): choose another path")
        save(path, *args)

    def fill() -> None:
        nonlocal full
        full = True

    often(monkeypatch)
    monkeypatch.setattr(store, "save_noted", save_noted)
    options: Any = {"epochs": 3, "save_every": 1e-9}
    with pytest.warns(UserWarning, match=r"cannot write .*; training goes on, and the checkpoint"):
        state, _ = fit(DATA, **options, folder=tmp_path / "a", listeners=[At(2, fill)])
    assert int(state.step) == 3 * DATA.count
    again = True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        with pytest.raises(ValueError, match="the training could not be saved: cannot write"):
            fit(DATA, **options, folder=tmp_path / "b", listeners=[At(2, fill)])
    full = False
    state, _ = fit(DATA, **options, folder=tmp_path / "b", resume=True)
    whole, _ = fit(DATA, epochs=3)
    jax.tree.map(np.testing.assert_array_equal, state, whole)


def test_the_best_parameters_are_written_when_there_is_room_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = sys.modules["rnn_jax.training.store"]
    save = store.save_noted
    failed: list[Path] = []

    def save_noted(path: Path, tree: Any, beside: Any) -> None:
        if path.name == "best.safetensors" and beside["step"] and not failed:
            failed.append(path)
            raise ValueError("cannot write the best")
        save(path, tree, beside)

    often(monkeypatch)
    monkeypatch.setattr(store, "save_noted", save_noted)
    with pytest.warns(UserWarning, match="cannot write the best; training goes on"):
        _, history = fit(DATA, epochs=4, folder=tmp_path)
    assert failed
    best = rnn_jax.interop.load_params(tmp_path / "best.safetensors")
    jax.tree.map(np.testing.assert_array_equal, best, history.best_params)


def test_clocks_that_jump(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that sleeps and whose date is set back: the same training, the same bits."""
    whole, told = fit(DATA, epochs=3)
    jumps, real = itertools.cycle([0.0, 1e7, -1e7, 3.0]), time.perf_counter

    class Clock:
        def perf_counter(self) -> float:
            return real() + next(jumps)

        def strftime(self, form: str) -> str:
            return f"19{next(jumps):+.0f}"

    monkeypatch.setattr(sys.modules["rnn_jax.training.session"], "time", Clock())
    monkeypatch.setattr(sys.modules["rnn_jax.training.store"], "time", Clock())
    state, history = fit(DATA, epochs=3, folder=tmp_path)
    jax.tree.map(np.testing.assert_array_equal, state, whole)
    assert losses(history) == losses(told) and history.ended == "done"


def test_folders_of_something_else(tmp_path: Path) -> None:
    fit(DATA, epochs=1, folder=tmp_path)
    again: Any = {"epochs": 2, "folder": tmp_path, "resume": True}
    with pytest.raises(ValueError, match="begun with other key=: pass the same"):
        fit(DATA, **{**again, "key": jax.random.key(4)})
    with pytest.raises(ValueError, match="begun with other data: pass the same"):
        fit(VALIDATION, **again)
    wider = rnn_jax.serial(rnn_jax.recurrent(rnn_jax.gru(9)), rnn_jax.dropout(0.3))
    other = rnn_jax.language_model(20, wider, embedding_size=5)
    with pytest.raises(ValueError, match=r"another model: its .* of shape"):
        rnn_jax.fit(other, OPTIMIZER, DATA, **COMMON, **again)
    with pytest.raises(ValueError, match="holds the state of another optimiser: only"):
        rnn_jax.fit(MODEL, optax.sgd(0.1), DATA, **COMMON, **again)

    def second() -> None:
        with pytest.raises(ValueError, match="another training writes to"):
            fit(DATA, **again)

    fit(DATA, **again, listeners=[At(30, second)])


def test_what_listeners_hear() -> None:
    heard = At(10**9, ctrl_c)
    fit(DATA, epochs=2, listeners=[heard])
    steps = [progress.step for progress in heard.heard]
    assert steps == sorted(set(steps)) and steps[-1] == 2 * DATA.count
    last = heard.heard[-1]
    assert (last.epoch, last.epochs, last.batch, last.batches) == (2, 2, DATA.count, DATA.count)
    assert last.seconds_left == 0 and last.learning_rate == pytest.approx(0.02)
    assert [row["epoch"] for row in heard.rows] == [0, 1, 2]


@pytest.mark.parametrize(
    "options, message",
    [
        ({}, "say for how long to train: pass epochs=, steps= or seconds="),
        ({"epochs": -1}, "epochs must be an integer of at least 0"),
        ({"epochs": 1, "key": None}, r"drawn from a key: pass key= or params="),
        ({"epochs": 1, "validation": None, "patience": 2}, "pass validation="),
        ({"epochs": 1, "patience": 0}, "patience must be an integer of at least 1"),
        ({"epochs": 1, "key": 3}, r"key must be one of jax.random.key"),
        ({"epochs": 1, "folder": 3}, "folder must be a path"),
        ({"epochs": 1, "save_every": None}, "save_every must be seconds"),
        ({"epochs": 1, "on_evaluation": [3]}, "on_evaluation takes rules"),
        ({"epochs": 1, "evaluate_every": 0}, "evaluate_every must be an integer of at least 1"),
        ({"epochs": 1, "evaluate_every_steps": -1}, "evaluate_every_steps must be an integer"),
        ({"epochs": 1, "folder": "/dev/null/x"}, "cannot be written to"),
        ({"epochs": 1, "params": {"a": 1}}, "among the parameters must be an array"),
    ],
)
def test_bad_input(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit(DATA, **options)


def test_bad_data() -> None:
    with pytest.raises(ValueError, match="compiled loop runs over Windows"):
        rnn_jax.fit(MODEL, OPTIMIZER, jnp.ones(3), epochs=1, key=KEY)  # type: ignore[arg-type]
    empty = jax.tree.map(lambda leaf: leaf[:0], DATA)
    with pytest.raises(ValueError, match="no batch"):
        fit(empty, epochs=1)
    sourced = rnn_jax.Windows(DATA.inputs, DATA.targets, None, None, DATA.inputs)
    with pytest.raises(ValueError, match="reads no source"):
        fit(sourced, epochs=1, stateful=False)


def test_parameters_may_come_from_a_function() -> None:
    made = []

    def params() -> Any:
        made.append(MODEL.init(jax.random.key(5)))
        return made[-1]

    options: Any = {"key": jax.random.key(0), "steps": 3}
    given, _ = rnn_jax.fit(
        MODEL, rnn_jax.sgd(0.1), DATA, params=MODEL.init(jax.random.key(5)), **options
    )
    state, _ = rnn_jax.fit(MODEL, rnn_jax.sgd(0.1), DATA, params=params, **options)
    assert len(made) == 1
    # Not copied: used up.
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(made[0]))
    jax.tree.map(np.testing.assert_array_equal, given.params, state.params)
