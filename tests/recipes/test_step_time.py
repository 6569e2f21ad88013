"""The closing comparison: what it says of times, and when it calls the machine busy."""

from __future__ import annotations

import re

import pytest

from rnn_jax.recipes.reference_step import Workload
from rnn_jax.recipes.step_time import BUSY_LOAD, NUMPY, OURS, compare_step_time, comparison

SMALL = Workload(vocab_size=30, hidden_size=4, length=6, window=2, sentences=3)
TIMES = {OURS: 2e-3, "numpy-loop": 50e-3, "numpy-loop-float32": 24e-3, "numpy-vectorised": 3e-3}


def planted(*machine: float) -> dict[str, list[float]]:
    """The times of every round, in which the machine was so many times slower."""
    return {name: [seconds * slower for slower in machine] for name, seconds in TIMES.items()}


def test_all_baselines_stand_in_one_line_with_dtype_and_interval() -> None:
    text = comparison(Workload(), planted(1.0, 1.1, 3.0), 0.5, 2)
    assert text.splitlines()[-1].strip() == (
        "rnn_jax in float32 is 25.0 times (95 % interval 25.0 to 25.0) as fast as the published "
        "NumPy loop in float64, 12.0 times (12.0 to 12.0) as fast as that loop in float32, "
        "1.50 times (1.50 to 1.50) as fast as vectorised NumPy in float32"
    )
    assert (
        "the published NumPy loop, float64      55.000 ms; the tutorial gives about 180 ms" in text
    )
    assert "medians of 3" in text and "busy" not in text
    assert "180 ms" not in comparison(SMALL, planted(1.0, 1.0), 0.5, 2)


def test_a_busy_machine_is_called_so() -> None:
    quiet = planted(1.0, 1.0, 1.0)
    text = comparison(Workload(), quiet, 2 * BUSY_LOAD + 0.1, 2)
    assert "the machine is busy (its load is 3.1 on 2 cores): time again" in text
    assert "busy" not in comparison(Workload(), quiet, 2 * BUSY_LOAD, 2)
    assert "busy" not in comparison(Workload(), quiet, None, 2)
    noisy = {**quiet, "numpy-loop": [50e-3, 80e-3, 400e-3]}
    text = comparison(Workload(), noisy, 0.1, 2)
    found = re.search(r"a ratio is known to (\d+)% only", text)
    assert found is not None and int(found[1]) > 10


def test_it_measures_every_implementation_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    printed = compare_step_time(SMALL, rounds=4)
    times = [float(ms) for ms in re.findall(r"([0-9.]+) ms", printed)]
    assert len(times) == 1 + len(NUMPY) and min(times) >= 0
    assert "medians of 4:" in printed
    # The budget ends it, but not before three rounds.
    assert "medians of 3:" in compare_step_time(SMALL, rounds=50, budget_s=0)


@pytest.mark.parametrize("rounds", [-1, 0, 1])
def test_rounds_too_few_for_an_interval_are_refused_by_name(rounds: int) -> None:
    with pytest.raises(ValueError, match=f"^rounds must be 2 at least, .*, not {rounds}$"):
        compare_step_time(SMALL, rounds=rounds)
