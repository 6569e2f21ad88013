"""Sliding windows in the benchmarks: their oracle goes through the batch in parts."""

from __future__ import annotations

from functools import partial

import pytest

import rnn_jax
from benchmarks.measuring import sliding
from benchmarks.measuring.oracle import Wrong
from benchmarks.measuring.sliding import FULL, WINDOWS, SlidingLayers
from benchmarks.peers import OURS


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_every_way_of_ours_is_the_oracles(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sliding, "_ROWS", rows)
    workload = SlidingLayers("lstm", 5, 7, 4, 3, lags=2, layers=2 if rows == 2 else 1)
    prepare = sliding.case("sliding", workload).open()
    for name in (OURS, WINDOWS, FULL):
        assert prepare(name).result()["xs"].shape == (7, 5, 3)


def test_windows_of_another_length_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    shorter = partial(sliding._ours, kind=rnn_jax.sliding(1))
    monkeypatch.setattr(sliding, "_torch", shorter)
    prepare = sliding.case("sliding", SlidingLayers("gru", 3, 7, 4, 3, lags=2)).open()
    with pytest.raises(Wrong, match="is off by"):
        prepare("torch")
