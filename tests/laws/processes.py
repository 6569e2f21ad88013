"""A program, run by `test_processes` in several processes: training in them is training in one.

``JAX_ENABLE_X64=1 python -m tests.laws.processes PORT COUNT all|some NUMBER FOLDER``.
"""

from __future__ import annotations

import signal
import sys
from functools import cache, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh

import rnn_jax as r
from rnn_jax.runs.adaptive import Adaptive
from rnn_jax.training import Fed, consecutive, covering, halve, joined, sentence_stream
from rnn_jax.training.processes import processes_of
from tests.training.test_feeding import fed_windows

SIZE, B = 5, 8


@cache
def windows() -> Any:  # not before the processes have joined
    return consecutive(np.random.default_rng(0).integers(0, SIZE, 130), B, 5)


@cache
def few() -> Any:
    """6 rows, which no mesh here can share."""
    return covering(np.random.default_rng(1).integers(0, SIZE, 32), B, 5)


@cache
def stream() -> Any:
    tokens = np.random.default_rng(2).integers(0, SIZE, 128)
    return sentence_stream(tokens, np.arange(0, 129, 8), buckets=(4, 8), batch_size=B)


LSTM = r.recurrent(r.lstm(4))
PLAIN = r.language_model(SIZE, LSTM)
NOISY = r.language_model(SIZE, r.serial(r.weight_drop(LSTM, 0.3), r.dropout(0.3)))


def mesh(devices: Any) -> Mesh:
    return Mesh(np.array(devices), ("data",))


def go(model: Any, data: Any, optimizer: Any, over: Mesh, **options: Any) -> Any:
    """What comes of a training, in the memory of the host."""
    options = {"epochs": 2, **options}
    state, history = r.fit(model, optimizer, data, key=jax.random.key(0), mesh=over, **options)
    rows = [(row["loss"] or 0.0, row["train_loss"] or 0.0) for row in history.rows]
    return jax.device_get((state.params, state.step, history.best_params)), rows


def like_one(model: Any, data: Any, optimizer: Any, **options: Any) -> None:
    wanted = go(model, data, optimizer, mesh(jax.local_devices()[:1]), **options)
    got = go(model, data, optimizer, mesh(jax.devices()), **options)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-10, atol=1e-13), got, wanted)


def fits() -> None:
    """Data of all kinds, rules, noise of the optimiser, an adaptive truncation."""
    clipped = optax.chain(optax.clip_by_global_norm(0.1), optax.adam(0.01))
    averaging = r.training.ema(optax.MultiSteps(clipped, 2), 0.9)
    like_one(NOISY, windows(), averaging, validation=windows(), stateful=True)
    summed = partial(r.cross_entropy, reduction="sum")
    like_one(NOISY, stream(), clipped, validation=stream(), loss=summed, summed=True)
    fed(clipped)
    rate = optax.inject_hyperparams(optax.sgd)(learning_rate=5.0)
    like_one(PLAIN, windows(), rate, validation=few(), stateful=True, on_evaluation=[halve()])
    # An optimiser with a key, a function that evaluates, and a truncation that is measured.
    noised = optax.add_noise(0.1, 0.5, jax.random.key(3))
    like_one(
        PLAIN, windows(), optax.chain(noised, optax.sgd(0.1)),
        validation=lambda params: sum(jnp.abs(leaf).sum() for leaf in jax.tree.leaves(params)),
    )  # fmt: skip
    like_one(PLAIN, windows(), clipped, stateful=True, adapt=Adaptive(PLAIN, 0.3, every=2))


def fed(optimizer: Any) -> None:
    """Data that are fed, of which each process reads the rows of its own devices."""
    whole = fed_windows(windows(), 2)
    asked = []

    def read(begin: int, end: int, rows: slice) -> Any:
        asked.append(rows)
        return whole.read(begin, end, rows)

    pieces = Fed(read, whole.count, B, 2)
    options: Any = {"epochs": 2, "stateful": True}
    wanted = go(
        NOISY, windows(), optimizer, mesh(jax.local_devices()[:1]), validation=windows(), **options
    )
    got = go(NOISY, pieces, optimizer, mesh(jax.devices()), validation=pieces, **options)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-10, atol=1e-13), got, wanted)
    size = B // jax.process_count()
    first = size * jax.process_index()
    assert asked and all(rows == slice(first, first + size) for rows in asked)


def resumed(folder: Path) -> None:
    """From processes to one and back; what is resumed is what never stopped."""
    every, one = mesh(jax.devices()), mesh(jax.local_devices()[:1])
    adam = optax.adam(0.01)
    wanted = go(NOISY, windows(), adam, every, validation=windows(), epochs=3)
    again = partial(go, NOISY, windows(), adam, validation=windows(), resume=True)
    again(every, epochs=1, folder=folder / "run")
    got = again(every, epochs=3, folder=folder / "run")
    jax.tree.map(np.testing.assert_array_equal, got, wanted)  # to the bit
    again(every, epochs=1, folder=folder / "other")
    number = jax.process_index()
    if number == 0:
        got = again(one, epochs=2, folder=folder / "other")
    processes_of(every).led(0.0)  # the others wait
    got = again(every, epochs=3, folder=folder / "other")
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-10, atol=1e-13), got, wanted)
    with pytest.raises(ValueError, match="holds a training already"):
        go(NOISY, windows(), adam, every, validation=windows(), folder=folder / "run")


def decisions(folder: Path) -> None:
    """What one process alone knows is done by all: a signal, a failure, a clock."""
    every = mesh(jax.devices())
    number, last = jax.process_index(), jax.process_count() - 1
    go_on = partial(r.fit, PLAIN, optax.sgd(0.1), windows(), key=jax.random.key(0), mesh=every)

    def epoch(index: int) -> Any:
        if number == last and index == 2:
            signal.raise_signal(signal.SIGINT)
        return windows()

    options: Any = {"epochs": 50, "folder": folder / "stopped"}
    _, history = r.fit(
        PLAIN, optax.sgd(0.1), epoch, key=jax.random.key(0), mesh=every, **options
    )  # fmt: skip
    assert (history.ended, history.interrupted) == ("interrupted", True)
    assert (folder / "stopped" / "checkpoint.safetensors").exists()
    assert int(go_on(seconds=0.2)[0].step) > 0

    heard = []

    def fails(row: Any, params: Any) -> None:
        heard.append(jax.tree.map(np.asarray, params))
        if row["epoch"] == 1:
            raise OSError("the disk is full")

    # It is raised where it came, and the others end as after a signal.
    options = {"epochs": 3, "validation": windows(), "listeners": [fails]}
    try:
        _, history = go_on(**options)
        assert number and history.ended == "interrupted" and not heard
    except OSError:
        assert number == 0 and len(heard) == 2


def errors(folder: Path) -> None:
    """One sentence, in all of them, for what one of them alone has otherwise."""
    every = mesh(jax.devices())
    number = jax.process_index()
    go_on = partial(r.fit, PLAIN, optax.sgd(0.1), mesh=every, epochs=1)
    with pytest.raises(ValueError, match=r"process 1 of \d differs from process 0 in key= or data"):
        go_on(windows(), key=jax.random.key(number))
    with pytest.raises(ValueError, match=r"differs from process 0 in how long to train"):
        go_on(windows(), key=jax.random.key(0), epochs=1 + number)
    if number == 1:  # for process 0 it would be a training of its own
        with pytest.raises(ValueError, match="the mesh of 2 devices has none of process 1"):
            go_on(windows(), key=jax.random.key(0), mesh=mesh(jax.devices()[:2]))
    (folder / "file").write_text("")
    with pytest.raises(ValueError, match="cannot be written to"):
        go_on(windows(), key=jax.random.key(0), folder=folder / "file")


if __name__ == "__main__":
    port, count, parts, number, path = sys.argv[1:]
    with joined(f"127.0.0.1:{port}", int(count), int(number), wait=120):
        if parts == "all":
            fits()
            decisions(Path(path))
            errors(Path(path))
        resumed(Path(path))
