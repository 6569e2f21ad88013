"""Work shared by processes."""

from __future__ import annotations

import errno
import math
import os
from pathlib import Path

import pytest

from rnn_jax.text import Tokenizing, find_source, tokenize_source
from rnn_jax.text.spool import Spool
from rnn_jax.text.workers import in_order


def test_results_come_in_order() -> None:
    work = range(20)
    for processes in (1, 2):
        assert list(in_order(math.factorial, work, processes, preload="math")) == [
            math.factorial(n) for n in work
        ]


def test_a_process_that_is_killed_is_one_sentence() -> None:
    with pytest.raises(ValueError, match=r"a process that tokenised was killed, .*--processes"):
        list(in_order(os._exit, [1], 2, preload="os"))


def test_a_disk_that_fills_up_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Spool, array: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Spool, "add", full)
    with pytest.raises(ValueError, match=r"a\.tokens cannot be written, for the disk is full"):
        tokenize_source(
            find_source("comments-sample"), tmp_path / "a.tokens", Tokenizing(level="char")
        )
    assert not list(tmp_path.iterdir())
