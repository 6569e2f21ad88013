"""Batches that are read piece by piece are those that are cut from the whole text in memory."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from rnn_jax import runs, text
from rnn_jax.runs import remembered, sentences, streams
from rnn_jax.runs.data import RunData, prepare
from rnn_jax.text import places
from rnn_jax.training import Fed, SentenceStream, Windows, covering, sentence_stream
from rnn_jax.training.batches import stacked

ROWS = 7
SIZES: dict[str, Any] = {"batch_size": 4, "seq_length": 5, "hidden_size": 4, "embedding_size": 4}


@pytest.fixture
def piecewise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is too large: nothing stays in memory, and pieces are small."""
    monkeypatch.setattr(streams, "_IN_MEMORY", 0)
    monkeypatch.setattr(streams, "_BLOCK", 100)
    monkeypatch.setattr(sentences, "_BLOCK", 7)
    for module in (streams, sentences):
        monkeypatch.setattr(module, "WHOLE", 0)
        monkeypatch.setattr(module, "PIECE", 900)
    monkeypatch.setattr(places, "_ALL", 0)
    monkeypatch.setattr(places, "_EVERY", 3)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("texts")
    documents = text.read_documents("comments-sample").texts[:60]
    for number in range(ROWS):
        rows = documents[number::ROWS]
        lines = (f'"{row.replace(chr(34), chr(34) * 2)}"' for row in rows)
        (folder / f"{number}.csv").write_text("\n".join(["body", *lines]), encoding="utf-8")
    return str(folder)


def all_pieces(data: Any, rows: slice = slice(None)) -> list[np.ndarray | None]:
    """The sides of all batches of what is fed, the filling cut off."""
    assert isinstance(data, Fed)
    parts = []
    shapes = set()
    for begin in range(0, data.count, data.piece):
        end = min(begin + data.piece, data.count)
        part = data.read(begin, end, rows)
        assert isinstance(part, Windows) and part.count == data.piece
        shapes.add(tuple((side.shape, str(side.dtype)) for side in jax.tree.leaves(part)))
        sides = (part.inputs, part.targets, part.mask, part.resets)
        assert all(side is None or isinstance(side, np.ndarray) for side in sides)
        parts.append([None if side is None else side[: end - begin] for side in sides])
    assert len(shapes) == 1 and len(parts) > 2
    return [
        None if side[0] is None else np.concatenate([*side]) for side in zip(*parts, strict=True)
    ]


def assert_same(found: list[Any], expected: Windows, rows: slice = slice(None)) -> None:
    sides = (expected.inputs, expected.targets, expected.mask, expected.resets)
    for one, other in zip(found, sides, strict=True):
        if other is None:
            assert one is None
        else:
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, np.asarray(other)[:, :, rows])


def in_memory(data: RunData, number: int) -> Windows:
    """An epoch as the functions of `rnn_jax.text` cut it."""
    config, stream = data.config, data.training
    assert isinstance(stream, streams.Stream)

    def cut(ids: np.ndarray) -> Any:
        make = text.sequential_batches if config.stateful else text.random_batches
        rng = np.random.default_rng((config.seed, number))
        return make(ids, config.batch_size, config.seq_length, rng)

    resets = None
    if config.reset_at_documents:
        resets = (begins for begins, _ in cut(stream.begins()))
    return stacked(list(cut(stream.read())), data.steps_per_epoch, resets=resets)


@pytest.mark.parametrize("resets", [False, True])
@pytest.mark.parametrize("batching", ["sequential", "random"])
@pytest.mark.parametrize("level", ["word", "byte"])
def test_windows(piecewise: None, corpus: str, level: str, batching: str, resets: bool) -> None:
    options: dict[str, Any] = {"level": level, "batching": batching, "reset_at_documents": resets}
    data = prepare(runs.TrainConfig(corpus=corpus, **options, **SIZES, held_out=0.3, seed=3))
    for number in (0, 2):
        fed, count = data.epoch(number)
        expected = in_memory(data, number)
        assert fed.count == expected.count and count in (fed.count, fed.count - 1)
        assert_same(all_pieces(fed), expected)
        assert_same(all_pieces(fed, slice(1, 3)), expected, slice(1, 3))
        # Any batches can be read, in any order.
        assert isinstance(fed, Fed)
        some = fed.read(3, 5, slice(2, 4))
        assert isinstance(some, Windows)
        np.testing.assert_array_equal(some.inputs[:2], np.asarray(expected.inputs)[3:5, :, 2:4])
    assert isinstance(data.training, streams.Stream)
    everything = data.training.tokens.read()
    begins = np.zeros(len(everything), bool)
    begins[data.training.tokens.documents] = True
    held = slice(len(data.training), None)
    expected = covering(
        everything[held].astype(np.int32), 4, 5, begins=begins[held] if resets else None
    )
    assert_same(all_pieces(data.evaluation), expected)
    assert_same(all_pieces(data.evaluation, slice(3, 4)), expected, slice(3, 4))


def pairs(batches: Any) -> list[list[int]]:
    """All sentences of a stream in its order, empty ones left out."""
    found = []
    streams = [batches]
    if isinstance(batches, Fed):
        bounds = itertools.pairwise([*range(0, batches.count, batches.piece), batches.count])
        streams = [batches.read(begin, end, slice(None)) for begin, end in bounds]
        assert len({tuple(side.shape for side in jax.tree.leaves(one)) for one in streams}) == 1
        assert len(streams) > 2 and {one.buckets for one in streams} == {streams[0].buckets}
    for one in streams:
        assert isinstance(one, SentenceStream)
        for start, length in zip(np.asarray(one.starts), np.asarray(one.lengths), strict=True):
            if length:
                assert start + one.buckets[-1] + 1 <= len(one.stream)
                found.append(np.asarray(one.stream)[start : start + length + 1].tolist())
    return found


@pytest.mark.parametrize("longest", [None, 12])
def test_sentences(piecewise: None, corpus: str, longest: int | None) -> None:
    options: dict[str, Any] = {"batching": "sentences", "max_length": longest, "max_sentences": 90}
    data = prepare(runs.TrainConfig(corpus=corpus, **options, **SIZES | {"batch_size": 3}))
    documents = text.read_documents(corpus)
    found = text.tokenize_corpus(documents)
    vocabulary = text.reference_vocabulary(found.counts())
    whole = text.encode_sentences(found, vocabulary).subset(0, 90)
    kept = whole if longest is None else whole.up_to(longest + 2)
    assert data.left_out == len(whole) - len(kept) and (longest is None or data.left_out > 5)
    cut = len(data.training)
    training, held = kept.subset(0, cut), kept.subset(cut)
    assert data.tokens == training.word_count and data.vocabulary == vocabulary
    for number in range(2):
        fed, count = data.epoch(number)
        expected = sentence_stream(
            training.stream,
            training.offsets,
            buckets=text.bucket_lengths(training.lengths),
            batch_size=3,
        )
        assert isinstance(fed, Fed) and fed.count == count == expected.count
        assert pairs(fed) == pairs(expected)
        piece = fed.read(2, 3, slice(None))
        assert isinstance(piece, SentenceStream) and piece.buckets == expected.buckets
    evaluated = data.evaluation
    assert isinstance(evaluated, Fed) and evaluated.batch_size == 16
    assert sorted(pairs_of_few(evaluated)) == sorted(list(map(int, s)) for s in ids_of(held))


def pairs_of_few(fed: Fed) -> list[list[int]]:
    """The sentences of what may be a single piece."""
    parts = [
        fed.read(begin, min(begin + fed.piece, fed.count), slice(None))
        for begin in range(0, fed.count, fed.piece)
    ]
    return [sentence for part in parts for sentence in pairs(part)]


def ids_of(sentences: text.Sentences) -> list[np.ndarray]:
    return [sentences.stream[a:b] for a, b in itertools.pairwise(sentences.offsets)]


def test_a_stream_of_sentences_without_the_long_ones(corpus: str) -> None:
    """Documents begin with their first sentence that stays."""
    options: dict[str, Any] = {"max_length": 9, "reset_at_documents": True, "held_out": 0.0}
    data = prepare(runs.TrainConfig(corpus=corpus, **options, **SIZES))
    whole = text.encode_sentences(
        text.tokenize_corpus(text.read_documents(corpus)), data.vocabulary
    )
    kept = whole.up_to(11)
    assert isinstance(data.training, streams.Stream) and data.left_out == len(whole) - len(kept)
    np.testing.assert_array_equal(data.training.read(), kept.stream)
    np.testing.assert_array_equal(np.flatnonzero(data.training.begins()), kept.document_begins())


def test_what_is_small_is_on_the_device(corpus: str) -> None:
    batching: Any
    for batching in ("sequential", "sentences"):
        data = prepare(runs.TrainConfig(corpus=corpus, batching=batching, **SIZES))
        for batches in (data.epoch(0)[0], data.evaluation):
            assert isinstance(batches, Windows | SentenceStream)
            assert all(isinstance(side, jax.Array) for side in jax.tree.leaves(batches))


@pytest.mark.parametrize("batching", ["sequential", "random", "sentences"])
def test_a_run_that_is_fed_is_the_run_that_is_not(
    corpus: str, batching: Any, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    config = runs.TrainConfig(
        corpus=corpus, batching=batching, **SIZES, epochs=2, max_sentences=150, held_out=0.3
    )
    trained = []
    for name in ("whole", "fed"):
        data = prepare(config)
        assert isinstance(data.evaluation, Fed) == (name == "fed")
        folder = runs.create_folder(str(tmp_path / name))
        folder.save_settings(config, data.vocabulary, data.sha256, data.origin)
        assert runs.fit(folder, data) == "done"
        loss, tokens = runs.evaluator(data.model)(folder.load_parameters(), data)
        trained.append((folder.load_parameters(), data.unigram_loss, tokens, loss))
        request.getfixturevalue("piecewise")
    for one, other in zip(*(jax.tree.leaves(found[0]) for found in trained), strict=True):
        np.testing.assert_array_equal(one, other)
    assert trained[0][1:3] == trained[1][1:3]
    assert trained[0][3] == pytest.approx(trained[1][3], rel=1e-5)


@pytest.mark.parametrize("batching", ["sequential", "sentences"])
def test_what_a_long_text_is_like_is_found_once(
    piecewise: None,
    corpus: str,
    batching: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RNN_JAX_CACHE", str(tmp_path))
    monkeypatch.setattr(remembered, "_MANY", 0)
    config = runs.TrainConfig(corpus=corpus, batching=batching, **SIZES)
    first = prepare(config)
    first.epoch(0)
    assert list(tmp_path.glob("figures-*"))
    for part in (streams.Stream, sentences.SentenceRange):
        # A generator, which is asked for and not read.
        blocks = lambda _: (pytest.fail("counted again") for _ in range(1))  # noqa: E731
        monkeypatch.setattr(part, "blocks", blocks)
    monkeypatch.setattr(sentences.SentenceRange, "_sizes", lambda *_: pytest.fail("measured again"))
    again = prepare(config)
    again.epoch(0)
    assert again.unigram_loss == first.unigram_loss and again.tokens == first.tokens
