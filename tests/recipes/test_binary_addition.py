"""The recipe binary-addition: its steps are those of the published code, bit for bit of a sum."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnn_jax.cli import main
from rnn_jax.recipes import binary_addition
from rnn_jax.reference import NumpyAdder, draw_addends, to_bits


def case(seed: int = 0, count: int = 30, bits: int = 8, hidden: int = 5) -> Any:
    rng = np.random.RandomState(seed)
    adder = NumpyAdder.init(rng, hidden)
    params = {"cell": {"w_ih": adder.w_ih, "w_hh": adder.w_hh}, "w_ho": adder.w_ho}
    addends = draw_addends(rng, count, bits)
    xs, ys = (
        jnp.asarray(np.moveaxis(to_bits(numbers, bits), 0, 1), float)
        for numbers in (addends, addends.sum(axis=1))
    )
    return adder, jax.tree.map(jnp.array, params), addends, xs, ys


def test_bits_and_sums_fit() -> None:
    addends = draw_addends(np.random.RandomState(1), 50, 32)
    assert addends.shape == (50, 2) and addends.max() >= 2**28
    bits = to_bits(addends.sum(axis=1), 32)
    np.testing.assert_array_equal(2 ** np.arange(32) @ bits, addends.sum(axis=1))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("bits, hidden", [(1, 3), (8, 5), (11, 16)])
def test_one_compiled_call_takes_the_published_steps(bits: int, hidden: int) -> None:
    adder, params, addends, xs, ys = case(bits=bits, hidden=hidden)
    after, (errors, outputs) = binary_addition.make_train()(params, xs, ys)
    for i, (a, b) in enumerate(addends.tolist()):
        error, total = adder.step(a, b, bits=bits)
        assert float(errors[i]) == pytest.approx(error, rel=1e-12)
        assert int(outputs[i] @ 2 ** np.arange(bits)) == total
    trained = {"cell": {"w_ih": adder.w_ih, "w_hh": adder.w_hh}, "w_ho": adder.w_ho}
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-12), after, trained)


def test_the_published_step_is_gradient_descent() -> None:
    adder, *_ = case()
    before = {name: getattr(adder, name).copy() for name in ("w_ih", "w_hh", "w_ho")}

    def loss(name: str, index: tuple[int, ...], change: float) -> float:
        weights = {n: w.copy() for n, w in before.items()}
        weights[name][index] += change
        h, total = np.zeros(5), 0.0
        for x, y in zip(to_bits([21, 13], 8), to_bits(34, 8), strict=True):
            h = 1 / (1 + np.exp(-(x @ weights["w_ih"] + h @ weights["w_hh"])))
            total += (y - 1 / (1 + np.exp(-(h @ weights["w_ho"])[0]))) ** 2 / 2
        return total

    adder.step(21, 13, rate=0.5)
    for name, weight in before.items():
        for index in np.ndindex(weight.shape):
            slope = (loss(name, index, 1e-4) - loss(name, index, -1e-4)) / 2e-4
            moved = (getattr(adder, name)[index] - weight[index]) / -0.5
            assert moved == pytest.approx(slope, abs=1e-8)


def test_right_sums_are_counted() -> None:
    _, params, addends, _, _ = case(count=7)
    never = jax.tree.map(jnp.zeros_like, params)  # every bit ½, which rounds to 0
    assert binary_addition.right_sums(never, addends, 8) == (0, 7)
    assert binary_addition.right_sums(never, np.zeros((2, 2), int), 8) == (2, 2)
    pairs = binary_addition.all_addends()
    assert len(np.unique(pairs, axis=0)) == 128 * 128 and pairs.max() == 127


def test_the_recipe_prints_the_published_blocks(tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "run"
    assert main(["recipe", "binary-addition", "--examples", "1001", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(
        "Error:[3.45638663]\nPred:[0 0 0 0 0 0 0 1]\nTrue:[0 1 0 0 0 1 0 1]\n9 + 60 = 1\n----"
    )
    assert "Error:[3.63389116]" in printed and "28 + 35 = 255" in printed
    assert "of 16,384" in printed
    names = {path.name for path in out.iterdir()}
    assert names == {"history.jsonl", "error.png", "table.md"}
    rows = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    assert [row["example"] for row in rows] == [0, 1000]


@pytest.mark.parametrize("option", ["--examples", "--hidden-size"])
def test_bad_input_is_one_sentence(option: str, tmp_path: Path, capsys: Any) -> None:
    assert main(["recipe", "binary-addition", option, "0", "--out", str(tmp_path)]) == 2
    assert f"{option} must be at least 1, not 0" in capsys.readouterr().err
    with pytest.raises(ValueError, match="hidden_size must be positive"):
        NumpyAdder.init(np.random.RandomState(0), 0)
