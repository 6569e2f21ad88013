"""Batches that are fed piece by piece are the batches of a data set in memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import pytest

import rnn_jax
from rnn_jax.training import Fed, Windows, consecutive, make_evaluate, sentence_stream
from rnn_jax.training.feeding import Feeder
from rnn_jax.training.streams import SentenceStream

V, H, T, B = 11, 6, 5, 4
IDS = np.random.default_rng(0).integers(0, V, 1 + B * T * 7 + 3)
MODEL = rnn_jax.language_model(V, rnn_jax.recurrent(rnn_jax.elman(H)))
PIECES = [1, 3, 50]
ROUNDING = 140 * float(np.finfo(np.float32).eps)  # of 140 summands in another order


def fed_windows(data: Windows, piece: int, seen: list[Any] | None = None) -> Fed:
    """The same batches, read from host arrays."""
    whole = jax.tree.map(np.asarray, data)

    def read(begin: int, end: int, rows: slice) -> Windows:
        if seen is not None:
            seen.append((begin, end))

        def cut(part: np.ndarray) -> np.ndarray:
            part = part[begin:end, :, rows]
            # What fills a piece up is not looked at.
            return np.pad(part, [(0, piece - len(part)), (0, 0), (0, 0)], constant_values=1)

        return jax.tree.map(cut, whole)

    return Fed(read, data.count, data.batch_size, piece)


def fed_sentences(data: SentenceStream, piece: int) -> Fed:
    """Sentences a piece: as many, and room for as many tokens, in each."""
    stream, starts, lengths = (np.asarray(a) for a in (data.stream, data.starts, data.lengths))
    size = piece * data.batch_size
    room = len(stream)

    def read(begin: int, end: int, rows: slice) -> SentenceStream:
        mine = slice(begin * data.batch_size, end * data.batch_size)
        first = starts[mine][0]
        fill = (0, size - len(starts[mine]))
        fields: dict[str, Any] = {
            "stream": np.pad(stream[first:], (0, first))[:room],
            "starts": np.pad(np.maximum(starts[mine] - first, 0), fill),
            "lengths": np.pad(lengths[mine], fill),
        }
        return SentenceStream(**fields, buckets=data.buckets, batch_size=data.batch_size)

    return Fed(read, data.count, data.batch_size, piece)


def trained(data: Any, **given: Any) -> tuple[Any, Any]:
    options: dict[str, Any] = {"epochs": 2, "key": jax.random.key(1)} | given
    model: Any = options.pop("model", MODEL)
    state, history = rnn_jax.fit(model, optax.adam(0.01), data, **options)
    rows = [{k: v for k, v in row.items() if k in ("step", "train_loss")} for row in history.rows]
    return jax.tree.map(np.asarray, state), rows


def assert_same(one: Any, other: Any) -> None:
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.parametrize("stateful", [True, False])
@pytest.mark.parametrize("piece", PIECES)
def test_training_on_pieces_is_training_on_all_of_them(piece: int, stateful: bool) -> None:
    data = consecutive(IDS, B, T)
    wanted = trained(data, stateful=stateful, validation=data)
    assert_same(wanted, trained(fed_windows(data, piece), stateful=stateful, validation=data))


@pytest.mark.parametrize("piece", [1, 2, 5])
def test_sentences_noise_and_a_truncation_that_adapts(piece: int) -> None:
    lengths = [3, 7, 2, 5, 5, 4, 6, 2, 3, 9]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    data = sentence_stream(IDS[: offsets[-1]], offsets, buckets=(4, 8), batch_size=2)
    layer = rnn_jax.serial(rnn_jax.recurrent(rnn_jax.lstm(H)), rnn_jax.dropout(0.4))
    model = rnn_jax.language_model(V, layer)
    seen: list[Any] = []

    class Adapts:
        every = 3

        def __call__(self, state: Any, batches: Any, index: int) -> Any:
            seen.append(np.asarray(batches.lengths)[2 * index : 2 * index + 2].tolist())
            return rnn_jax.sliding(2)

    wanted = trained(data, model=model, summed=True, adapt=Adapts(), validation=data)
    looked_at, seen[:] = seen.copy(), []
    fed = fed_sentences(data, piece)
    assert_same(wanted, trained(fed, model=model, summed=True, adapt=Adapts(), validation=data))
    assert seen == looked_at == [[2, 6], [5, 1], [1, 4], [2, 8]]


@pytest.mark.parametrize("piece", PIECES)
def test_evaluation_is_that_of_all_batches(piece: int) -> None:
    data = consecutive(IDS, B, T)
    params = MODEL.init(jax.random.key(2))
    for carry in (None, MODEL.initial_carry((B,), params)):
        nats, tokens = make_evaluate(MODEL)(params, data, carry)
        fed_nats, fed_tokens = make_evaluate(MODEL)(params, fed_windows(data, piece), carry)
        assert int(fed_tokens) == int(tokens)
        np.testing.assert_allclose(float(fed_nats), float(nats), rtol=ROUNDING)
    validated = []
    for validation in (data, fed_windows(data, piece)):
        _, history = rnn_jax.fit(
            MODEL, optax.sgd(0.1), data, epochs=1, params=params, stateful=True,
            validation=validation,
        )  # fmt: skip
        validated.append([row["loss"] for row in history.rows])
    np.testing.assert_allclose(validated[0], validated[1], rtol=ROUNDING)


def test_epochs_by_a_function_and_a_training_that_goes_on(tmp_path: Path) -> None:
    def epochs(feed: bool) -> Callable[[int], Any]:
        def epoch(number: int) -> Any:
            data = consecutive(np.roll(IDS, number), B, T)
            return (fed_windows(data, 3), 6) if feed else (data, 6)

        return epoch

    wanted = trained(epochs(False), epochs=3)
    assert_same(wanted, trained(epochs(True), epochs=3))
    trained(epochs(True), steps=8, folder=tmp_path, epochs=None)
    assert_same(wanted[0], trained(epochs(True), epochs=3, folder=tmp_path, resume=True)[0])


def test_the_next_piece_is_read_meanwhile_and_no_third_one() -> None:
    seen: list[Any] = []
    data = fed_windows(consecutive(IDS, B, T), 2, seen)
    with Feeder() as feeder:
        assert feeder.piece(data, 0)[1:] == (0, 2)
        _wait_for(lambda: len(seen) == 2)
        assert feeder.piece(data, 1)[1:] == (0, 2)
        assert feeder.piece(data, 2)[1:] == (2, 4)
        _wait_for(lambda: len(seen) == 3)
        assert feeder.piece(data, 4, count=6)[1:] == (4, 6)  # those behind are not real
        time.sleep(0.1)
        assert seen == [(0, 2), (2, 4), (4, 6)]
        assert feeder.piece(data, 6)[1:] == (6, 7)
    assert seen == [(0, 2), (2, 4), (4, 6), (6, 7)]
    assert not [one.name for one in threading.enumerate() if one.name.startswith("rnn_jax.Feeder")]


def test_one_thread_reads(tmp_path: Path) -> None:
    names: set[str] = set()
    data = consecutive(IDS, B, T)
    fed = fed_windows(data, 2)

    def read(begin: int, end: int, rows: slice) -> Any:
        names.add(threading.current_thread().name)
        return fed.read(begin, end, rows)

    named = Fed(read, 7, B, 2)
    trained(named, validation=named, stateful=True, folder=tmp_path)
    assert len(names) == 1 and not names & {one.name for one in threading.enumerate()}


def _wait_for(true: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not true() and time.monotonic() < until:
        time.sleep(0.01)
    assert true()


def test_another_data_set_does_not_go_on_with_a_training(tmp_path: Path) -> None:
    data = consecutive(IDS, B, T)
    options = {"validation": data, "folder": tmp_path}
    trained(fed_windows(data, 3), epochs=1, **options)
    trained(fed_windows(data, 3), epochs=2, resume=True, **options)
    other = fed_windows(consecutive((IDS + 1) % V, B, T), 3)
    with pytest.raises(ValueError, match="begun with other data"):
        trained(other, epochs=3, resume=True, **options)


def test_bad_pieces() -> None:
    data = consecutive(IDS, B, T)
    whole = jax.tree.map(np.asarray, data)
    short = Fed(lambda begin, end, rows: jax.tree.map(lambda a: a[begin:end], whole), 7, B, 3)
    with pytest.raises(ValueError, match=r"of 3 batches of 4 rows, filled up .* not 1 b"):
        trained(short)
    with pytest.raises(ValueError, match=r"must give Windows or a SentenceStream .* not None"):
        trained(Fed(lambda begin, end, rows: None, 7, B, 3))  # type: ignore[arg-type,return-value]
    strange = consecutive(np.where(np.arange(len(IDS)) == 100, V, IDS), B, T)
    with pytest.raises(ValueError, match="targets of data hold 11"):
        trained(fed_windows(strange, 2))
    with pytest.raises(ValueError, match="targets of validation hold 11"):
        trained(data, validation=fed_windows(strange, 2))
    with pytest.raises(ValueError, match="piece"):
        fed_windows(data, 0)

    def broken(begin: int, end: int, rows: slice) -> Any:
        if begin:
            raise OSError("the disk is gone")
        return fed_windows(data, 3).read(begin, end, rows)

    with pytest.raises(OSError, match="the disk is gone"):
        trained(Fed(broken, 7, B, 3))
