"""What `fit` tells those who listen: the rows of metrics, with the parameters they are of."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import optax
import pytest

import rnn_jax
from rnn_jax.training import Listener, consecutive

MODEL = rnn_jax.language_model(7, rnn_jax.recurrent(rnn_jax.gru(4)))
DATA = consecutive(np.arange(130) % 7, batch_size=2, seq_length=8)
COMMON: dict[str, Any] = {"validation": DATA, "key": jax.random.key(0)}


def test_a_function_hears_each_row_with_the_parameters_that_were_evaluated() -> None:
    evaluate = rnn_jax.make_evaluate(MODEL)
    heard: list[tuple[dict[str, Any], float, list[int]]] = []

    def sample(row: dict[str, Any], params: Any) -> None:
        nats, tokens = evaluate(params, DATA)
        _, written = rnn_jax.generate(
            MODEL, params, None, DATA.inputs[0, :3, 0], length=5, key=jax.random.key(1),
            temperature=0,
        )  # fmt: skip
        heard.append((row, float(nats) / int(tokens), np.asarray(written).tolist()))

    state, history = rnn_jax.fit(
        MODEL, optax.adam(0.05), DATA, epochs=25, listeners=[sample], **COMMON
    )
    assert [row for row, _, _ in heard] == history.rows
    assert [loss for _, loss, _ in heard] == [row["loss"] for row in history.rows]
    assert heard[-1][2] == [3, 4, 5, 6, 0] != heard[0][2]
    assert not jax.tree.leaves(state.params)[0].is_deleted()


def test_parameters_that_are_averaged_are_those_that_are_told() -> None:
    told: list[Any] = []

    def keep(row: dict[str, Any], params: Any) -> None:
        told.append(jax.device_get(params))

    optimizer = rnn_jax.ema(optax.sgd(0.5), 0.9)
    state, _ = rnn_jax.fit(MODEL, optimizer, DATA, epochs=2, listeners=[keep], **COMMON)
    mean = rnn_jax.averaged(state.opt_state, state.params)
    jax.tree.map(np.testing.assert_array_equal, told[-1], mean)
    assert not np.allclose(told[-1]["readout"]["w"], state.params["readout"]["w"])


def test_a_class_derived_from_listener_writes_only_what_it_wants_to_hear() -> None:
    class Steps(Listener):
        def __init__(self) -> None:
            self.steps: list[int] = []

        def progress(self, progress: rnn_jax.training.Progress) -> None:
            self.steps.append(progress.step)

    class Rows(Listener):
        def __init__(self) -> None:
            self.epochs: list[float] = []

        def evaluated(self, row: dict[str, Any], params: Any) -> None:
            self.epochs.append(row["epoch"])

    steps, rows = Steps(), Rows()
    rnn_jax.fit(MODEL, optax.sgd(0.1), DATA, epochs=2, listeners=[steps, rows], **COMMON)
    assert steps.steps[-1] == 2 * DATA.count and rows.epochs == [0, 1, 2]


def test_what_listens_to_nothing_is_refused() -> None:
    listeners: Any = [print, "tensorboard"]
    with pytest.raises(ValueError, match=r"a listener is a Listener, or a function .* not 'tensor"):
        rnn_jax.fit(MODEL, optax.sgd(0.1), DATA, epochs=1, listeners=listeners, **COMMON)
