from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rnn_jax.reference import NumpyRNN, VectorisedRNN, train
from rnn_jax.reference.gradient_check import check_word_model, gradient_check
from tests.oracles import (
    chunked_gradients,
    final_state,
    full_gradients,
    sliding_gradients,
    tail_gradients,
    window_gradients,
)

NAMES = ("U", "V", "W")


def case(T: int, V: int, H: int, seed: int = 0) -> tuple[NumpyRNN, Any, Any]:
    """A model with weights large enough for truncation to matter, and one sentence."""
    rng = np.random.default_rng(seed)
    weights = (rng.normal(size=shape) for shape in ((H, V), (V, H), (H, H)))
    return NumpyRNN(*weights), rng.integers(0, V, T), rng.integers(0, V, T)


def arrays(model: NumpyRNN) -> tuple[Any, Any, Any]:
    return model.U, model.V, model.W


def assert_same(ours: Any, theirs: Any, rtol: float = 1e-12) -> None:
    for name, a, b in zip(NAMES, ours, theirs, strict=True):
        scale = np.abs(b).max(initial=0)  # elements may cancel: relative to the whole array
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * scale, err_msg=name)


shapes = st.tuples(st.integers(1, 9), st.integers(1, 12), st.integers(1, 6), st.integers(0, 99))


def test_forward_by_hand() -> None:
    model = NumpyRNN(np.array([[0.5, -1.0]]), np.array([[2.0], [0.0]]), np.array([[3.0]]))
    o, s = model.forward([0, 1])
    s0 = math.tanh(0.5)
    s1 = math.tanh(-1 + 3 * s0)
    np.testing.assert_allclose(s[:, 0], [s0, s1, 0], rtol=1e-15)
    p = [1 / (1 + math.exp(-2 * a)) for a in (s0, s1)]
    np.testing.assert_allclose(o, [[a, 1 - a] for a in p], rtol=1e-14)
    expected = -math.log(1 - p[0]) - math.log(p[1])
    assert model.total_loss([[0, 1]], [[1, 0]]) == pytest.approx(expected, rel=1e-14)
    assert model.loss([[0], [0, 1]], [[1], [1, 0]]) == pytest.approx(
        (expected - math.log(1 - p[0])) / 3, rel=1e-14
    )
    assert model.predict([0, 1]).tolist() == [int(a < 0.5) for a in p]


@pytest.mark.parametrize("cls", [NumpyRNN, VectorisedRNN])
def test_untrained_model_guesses_evenly(cls: type[NumpyRNN]) -> None:
    model = cls.init(8000, seed=0)
    x = np.random.default_rng(1).integers(0, 8000, 21)
    assert model.loss([x[:-1]], [x[1:]]) == pytest.approx(math.log(8000), rel=0.01)
    for array, fan_in in zip(arrays(model), (8000, 100, 100), strict=True):
        assert array.shape[1] == fan_in
        assert 0.99 / math.sqrt(fan_in) < np.abs(array).max() <= 1 / math.sqrt(fan_in)
    np.testing.assert_array_equal(model.U, cls.init(8000, seed=0).U)


@pytest.mark.parametrize("cls", [NumpyRNN, VectorisedRNN])
def test_published_gradient_check(cls: type[NumpyRNN]) -> None:
    report = check_word_model(cls.init(100, 10, seed=10), [0, 1, 2, 3], [1, 2, 3, 4])
    assert report.passed, report
    assert [(a.name, a.count) for a in report.arrays] == [("U", 1000), ("V", 1000), ("W", 100)]
    assert max(a.largest_relative_error for a in report.arrays) < 1e-4


def test_gradient_check_sees_truncation_and_says_where() -> None:
    model, x, y = case(6, 7, 3)
    report = check_word_model(model, x, y, bptt_truncate=1)
    assert [a.passed for a in report.arrays] == [False, True, False]
    bad = report.failure
    assert bad is not None
    assert bad.name == "U"
    assert bad.relative_error > 0.01
    assert bad.backprop_gradient == model.gradients(x, y, 1)[0][bad.index]
    assert bad.estimated_gradient == pytest.approx(
        full_gradients(*arrays(model), x, y)[0][bad.index], rel=1e-3
    )
    assert bad.estimated_gradient == (bad.loss_plus - bad.loss_minus) / 0.002
    for word in (f"U{list(bad.index)}", "+h loss", "-h loss", "estimated", "backprop", "relative"):
        assert word in str(report)


def test_gradient_check_of_zero_and_nan() -> None:
    w = {"w": np.array([1.0, 2.0])}
    assert (
        gradient_check(lambda a: 3.0, w, {"w": np.zeros(2)}).arrays[0].largest_relative_error == 0
    )
    report = gradient_check(lambda a: a["w"].sum(), w, {"w": np.array([1.0, np.nan])})
    assert report.failure is not None
    assert report.failure.index == (1,)
    assert math.isnan(report.arrays[0].largest_relative_error)
    np.testing.assert_array_equal(w["w"], [1, 2])
    with pytest.raises(ValueError, match="names and shapes"):
        gradient_check(lambda a: 0.0, w, {"w": np.zeros(3)})
    with pytest.raises(ValueError, match="h must be"):
        gradient_check(lambda a: 0.0, w, w, h=0)


@given(shapes, st.integers(0, 10))
@example((1, 5, 3, 0), 0)
@example((4, 5, 3, 0), 0)
@example((4, 5, 3, 0), 3)
@example((4, 5, 3, 0), 4)
@example((5, 5, 3, 0), 4)
@example((6, 5, 3, 0), 4)
@example((9, 1, 1, 0), 4)
def test_vectorised_equals_double_loop(shape: tuple[int, int, int, int], k: int) -> None:
    model, x, y = case(*shape)
    fast = VectorisedRNN(*arrays(model))  # copies: both are trained below
    for ours, theirs in zip(fast.forward(x), model.forward(x), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-13)
    assert_same(fast.gradients(x, y, k), model.gradients(x, y, k))
    for _ in range(3):
        fast.sgd_step(x, y, 0.01, k)
        model.sgd_step(x, y, 0.01, k)
    assert_same(arrays(fast), arrays(model))


@given(shapes, st.integers(0, 10))
def test_sliding_is_one_window_for_each_loss(shape: tuple[int, int, int, int], k: int) -> None:
    model, x, y = case(*shape)
    total = [np.zeros(a.shape) for a in arrays(model)]
    for t in range(len(x)):
        a = max(0, t - k)
        only_last = np.arange(a, t + 1) == t
        window = window_gradients(
            *arrays(model),
            x[a : t + 1],
            y[a : t + 1],
            final_state(model.U, model.W, x[:a]),
            only_last,
        )
        total = [g + w for g, w in zip(total, window, strict=True)]
    assert_same(sliding_gradients(*arrays(model), x, y, k), total)


@given(shapes, st.integers(0, 3))
def test_truncations_longer_than_the_sentence_are_none(
    shape: tuple[int, int, int, int], more: int
) -> None:
    model, x, y = case(*shape)
    T = len(x)
    full = full_gradients(*arrays(model), x, y)
    assert_same(sliding_gradients(*arrays(model), x, y, T - 1 + more), full)
    assert_same(tail_gradients(*arrays(model), x, y, T + more), full)
    assert_same(chunked_gradients(*arrays(model), x, y, T + more), full)


def test_truncations_differ_where_they_should() -> None:
    model, x, y = case(7, 9, 4)
    full, sliding, tail, chunked = (
        full_gradients(*arrays(model), x, y),
        sliding_gradients(*arrays(model), x, y, 2),
        tail_gradients(*arrays(model), x, y, 3),
        chunked_gradients(*arrays(model), x, y, 3),
    )
    for i in (0, 2):
        grads = (full[i], sliding[i], tail[i], chunked[i])
        for a in range(4):
            for b in range(a):
                assert not np.allclose(grads[a], grads[b], rtol=1e-3)
    for other in (sliding, chunked):
        np.testing.assert_allclose(other[1], full[1], rtol=1e-12)
    # tail(1) keeps the last of the windows [0:3], [3:6], [6:7].
    assert_same(
        tail_gradients(*arrays(model), x, y, 1),
        [
            a - b
            for a, b in zip(
                chunked, chunked_gradients(*arrays(model), x[:6], y[:6], 3), strict=True
            )
        ],
        rtol=1e-11,
    )
    assert not any(np.any(g) for g in tail_gradients(*arrays(model), x, y, 0))


@pytest.mark.parametrize("cls", [NumpyRNN, VectorisedRNN])
def test_float32_stays_float32(cls: type[NumpyRNN]) -> None:
    model = cls.init(50, 8, seed=0, dtype=np.float32)
    exact = NumpyRNN(*(a.astype(np.float64) for a in arrays(model)))
    x, y = [3, 3, 7, 9], [3, 7, 9, 1]
    results = (*model.forward(x), *model.gradients(x, y, 2))
    assert {a.dtype for a in results} == {np.dtype(np.float32)}
    assert_same(results[2:], exact.gradients(x, y, 2), rtol=1e-5)
    model.sgd_step(x, y, np.float64(0.1), 2)
    exact.sgd_step(x, y, 0.1, 2)
    assert {a.dtype for a in arrays(model)} == {np.dtype(np.float32)}
    assert_same(arrays(model), arrays(exact), rtol=1e-6)


def test_training_history_order_and_halving() -> None:
    losses = iter([3.0, 2.0, 2.5, 2.5, 2.6])
    steps: list[tuple[int, float]] = []
    seen: list[tuple[str, int, int, float]] = []

    class Rigged(NumpyRNN):
        def loss(self, xs: Any, ys: Any) -> float:
            return next(losses)

        def sgd_step(self, x: Any, y: Any, learning_rate: float, bptt_truncate: int) -> None:
            assert bptt_truncate == 4
            steps.append((x[0], learning_rate))

    history = train(
        Rigged.init(5, 2, seed=0),
        [[0], [1], [2]],
        [[1], [2], [3]],
        learning_rate=0.8,
        epochs=9,
        evaluate_loss_after=2,
        report=lambda *row: seen.append(row),
    )
    assert history == [(0, 3.0), (6, 2.0), (12, 2.5), (18, 2.5), (24, 2.6)]
    assert [row[1:] for row in seen] == [(n, n // 3, loss) for n, loss in history]
    assert all(len(row[0]) == len("2015-01-31 12:00:00") for row in seen)
    rates = [0.8] * 12 + [0.4] * 12 + [0.2] * 3  # an equal loss does not halve
    assert steps == list(zip([0, 1, 2] * 9, rates, strict=True))


def test_training_learns_and_both_models_agree() -> None:
    rng = np.random.default_rng(0)
    xs = [rng.integers(2, 30, n) for n in rng.integers(2, 9, 10)]
    ys = [np.append(x[1:], 1) for x in xs]
    slow, fast = (c.init(30, 10, seed=1) for c in (NumpyRNN, VectorisedRNN))
    a, b = (train(m, xs, ys, learning_rate=0.1, epochs=8) for m in (slow, fast))
    assert [n for n, _ in a] == [10 * e for e in range(8)]
    assert a[0][1] == pytest.approx(math.log(30), rel=0.01)
    assert a[-1][1] < 0.8 * a[0][1]
    np.testing.assert_allclose(a, b, rtol=1e-10)


START, END, UNKNOWN = 0, 1, 2


def rigged(steps: dict[int, dict[int, float]]) -> NumpyRNN:
    """A model whose next word depends only on the current one, with the given probabilities."""
    U = np.where(np.eye(6) > 0, 20.0, 0.0)  # the state is the one-hot word
    V = np.full((6, 6), -800.0)
    for word, following in steps.items():
        for after, p in following.items():
            V[after, word] = math.log(p)
    return NumpyRNN(U, V, np.zeros((6, 6)))


def test_generation_redraws_unknown_and_short_sentences() -> None:
    model = rigged(
        {START: {3: 0.3, UNKNOWN: 0.7}, 3: {4: 0.5, END: 0.5}, 4: {5: 1}, 5: {END: 0.9, 3: 0.1}}
    )
    draw = {"start": START, "end": END, "unknown": UNKNOWN}
    rng = np.random.default_rng(0)
    free = [model.generate(rng, **draw, min_length=0) for _ in range(300)]
    assert {s[0] for s in free} == {3}  # never UNKNOWN, START or END
    assert 0.4 < np.mean([s == [3] for s in free]) < 0.6
    long = {tuple(model.generate(rng, **draw, min_length=2)) for _ in range(300)}
    assert {(3, 4, 5), (3, 4, 5, 3, 4, 5)} <= long
    assert min(map(len, long)) == 3
    with pytest.raises(ValueError, match="min_length"):
        model.generate(rng, **draw, min_length=9, max_length=8, max_draws=5)
    endless = rigged({START: {3: 1}, 3: {3: 1}})
    assert endless.generate(rng, **draw, max_length=11) == [3] * 11


@pytest.mark.parametrize("cls", [NumpyRNN, VectorisedRNN])
def test_save_and_load(cls: type[NumpyRNN], tmp_path: Path) -> None:
    model = cls.init(7, 3, seed=0, dtype=np.float32)
    path = tmp_path / "weights.npz"
    for _ in range(2):  # the second replaces the first
        model.save(path)
    for ours, theirs in zip(arrays(cls.load(path)), arrays(model), strict=True):
        assert ours.dtype == np.float32
        np.testing.assert_array_equal(ours, theirs)
    assert [p.name for p in tmp_path.iterdir()] == ["weights.npz"]
    with np.load(path) as file:
        assert sorted(file) == ["U", "V", "W"]


def test_bad_files(tmp_path: Path) -> None:
    good = tmp_path / "good.npz"
    NumpyRNN.init(7, 3, seed=0).save(good)
    (tmp_path / "empty.npz").touch()
    (tmp_path / "text.npz").write_text("U, V, W")
    (tmp_path / "cut.npz").write_bytes(good.read_bytes()[:300])
    np.savez(tmp_path / "other.npz", A=np.zeros(3))
    np.save(tmp_path / "single.npy", np.zeros(3))
    np.savez(tmp_path / "shape.npz", U=np.zeros((2, 3)), V=np.zeros((3, 2)), W=np.zeros((3, 3)))
    np.savez(tmp_path / "objects.npz", U=np.array([None]), V=np.zeros(1), W=np.zeros(1))
    names = ("none.npz", "empty.npz", "text.npz", "cut.npz", "other.npz", "single.npy", ".")
    for name in (*names, "shape.npz", "objects.npz"):
        with pytest.raises(ValueError, match="file of U, V and W"):
            NumpyRNN.load(tmp_path / name)
    before = sorted(tmp_path.iterdir())
    for target in (good / "below-a-file.npz", tmp_path):
        with pytest.raises(ValueError, match="cannot write"):
            NumpyRNN.init(7, 3, seed=0).save(target)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("cls", [NumpyRNN, VectorisedRNN])
def test_bad_input(cls: type[NumpyRNN]) -> None:
    model = cls.init(5, 2, seed=0)
    for tokens in ([-1], [5], [0.5], [[0]]):
        with pytest.raises(ValueError, match="token"):
            model.forward(np.array(tokens))
    with pytest.raises(ValueError, match="equally long"):
        model.total_loss([[0, 1]], [[1]])
    with pytest.raises(ValueError, match="bptt_truncate"):
        model.gradients([0], [1], -1)
    with pytest.raises(ValueError, match="at least one word"):
        model.loss([], [])
    with pytest.raises(ValueError, match="positive"):
        cls.init(0, 2, seed=0)
    with pytest.raises(ValueError, match="dtype"):
        cls(model.U.astype(np.float32), model.V, model.W)
    with pytest.raises(ValueError, match="learning_rate"):
        train(model, [[0]], [[1]], epochs=1, learning_rate=math.nan)
    with pytest.raises(ValueError, match="epochs"):
        train(model, [[0]], [[1]], epochs=-1)
    assert all(not np.any(g) for g in model.gradients([], [], 4))
