"""The oracle of optimisers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import optax
import pytest

from benchmarks.measuring.language import check_step
from benchmarks.measuring.oracle import Tolerance, Wrong
from benchmarks.measuring.updates import first_update, rounding_of
from benchmarks.measuring.workloads import Arrays, Language
from benchmarks.peers.language_ours import optimizer_of

PLAIN = Language("test", "lstm", 7, 4, 2, 6, 3, 2, 0.5)
GRADIENT = {"w": np.array([3.0, -4e-9, 0.0]), "b": np.array([4.0])}


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("clip", [None, 1.0, 50.0])
@pytest.mark.usefixtures("x64")
def test_the_first_update_is_optaxs(optimizer: str, clip: float | None) -> None:
    workload = replace(PLAIN, optimizer=optimizer, clip=clip)
    rule = optimizer_of(workload)
    params = {name: np.zeros_like(g) for name, g in GRADIENT.items()}
    updates, state = rule.update(GRADIENT, rule.init(params), params)
    want = first_update(workload, GRADIENT)
    for name, update in updates.items():
        np.testing.assert_allclose(want[name], update, rtol=1e-7)
    if optimizer == "adam":
        means = optax.tree_utils.tree_get(state, "mu")
        for name, mean in means.items():
            np.testing.assert_allclose(want[f"mean.{name}"], mean, rtol=1e-12)
    else:
        assert want.keys() == GRADIENT.keys()


def test_rounding_moves_the_updates_of_gradients_near_zero_only() -> None:
    workload = replace(PLAIN, optimizer="adam", learning_rate=1e-3)
    slack = rounding_of(workload, first_update(workload, GRADIENT), Tolerance())
    # 3 ± 3e-5 is as far from zero as ever; -4e-9 and 0 may be of either sign.
    assert slack["w"][0] < 1e-12
    assert slack["w"][1] > 1e-3 and slack["w"][2] == pytest.approx(1e-3, rel=1e-2)
    assert rounding_of(PLAIN, first_update(PLAIN, GRADIENT), Tolerance()) == {}


def test_adam_is_held_to_the_oracle_by_its_updates_and_by_its_means() -> None:
    workload = replace(PLAIN, optimizer="adam", learning_rate=1e-3, clip=1.0)
    want = {"loss": np.array(2.0), **first_update(workload, GRADIENT)}
    check_step(workload, want, want)
    # Without clipping Adam's updates are the same, and its means are not.
    unclipped = first_update(replace(workload, clip=None), GRADIENT)
    with pytest.raises(Wrong, match=r"its mean\.w is off"):
        check_step(workload, {**unclipped, "loss": want["loss"]}, want)
    with pytest.raises(Wrong, match="its b is off"):
        check_step(workload, {**want, "b": -want["b"]}, want)


def test_a_norm_that_is_a_little_off_is_forgiven_and_nothing_else_is() -> None:
    workload = replace(PLAIN, clip=1.0)
    want = {"loss": np.array(2.0), **first_update(workload, GRADIENT)}
    off = {name: value if name == "loss" else 1.0002 * value for name, value in want.items()}
    with pytest.raises(Wrong, match="is off by"):
        check_step(workload, off, want)
    check_step(workload, off, want, by="torch")

    def times(factor: float, want: Arrays) -> Arrays:
        return {n: value if n == "loss" else factor * value for n, value in want.items()}

    wrong = ({**off, "b": want["b"] * 1.0004}, times(0.9998, want), times(1.002, want))
    for other in wrong:
        with pytest.raises(Wrong, match=r"its [wb] is off by"):
            check_step(workload, other, want, by="torch")
    unclipped = replace(PLAIN, clip=50.0)
    whole = {"loss": np.array(2.0), **first_update(unclipped, GRADIENT)}
    with pytest.raises(Wrong, match=r"its [wb] is off by"):
        check_step(unclipped, times(1.0002, whole), whole, by="torch")
