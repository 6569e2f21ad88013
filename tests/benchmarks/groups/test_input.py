"""Tokenising and feeding: what is compared is right, its memory is known, and texts are texts."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.groups import input as reading
from benchmarks.measuring import runner, texts
from benchmarks.measuring.case import Options
from benchmarks.measuring.worker import Worker
from benchmarks.peers import OURS
from benchmarks.reporting.pictures import Pictures
from benchmarks.reporting.summary import noted

LIMITS = runner.Limits(rounds=1, case_s=0)
QUICK = Options(quick=True, corpus_mb=(0.03,))


def test_a_size_is_a_case_for_each_level_and_one_for_windows() -> None:
    names = [case.name for case in reading.GROUP.cases(Options(corpus_mb=(10, 1000)))]
    assert len(set(names)) == 8
    assert names[0] == "input/char-10mb/tokenise" and names[-1] == "input/windows-1000mb/feed"
    assert len(reading.GROUP.cases(Options())) == len(reading.GROUP.cases(QUICK)) == 4


@pytest.mark.parametrize("index", range(4))
def test_all_give_the_same_tokens_and_windows(
    index: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case = reading.GROUP.cases(QUICK)[index]
    case = case.only(tuple(name for name in case.implementations if "2" not in name))
    rows = runner.measure(case, lambda row: None, limits=LIMITS)
    for row in rows:
        if row["implementation"] == "torch" and row["status"] == "unavailable":
            continue  # it is installed here or not
        assert (row["status"], row["reason"]) == ("ok", None), row["implementation"]
        assert (row["value"] or 0) > 0 and row["corpus_bytes"] == 30_000
        if sys.platform == "linux":
            before, most = row["resident_before_bytes"], row["resident_bytes"]
            assert before is not None and most is not None and 5e6 < before <= most < 2e9
    reading.GROUP.closing and reading.GROUP.closing(rows)
    assert "resident_mb" in capsys.readouterr().out
    heading, _, lines = reading.GROUP.section(reading.GROUP, noted(rows), Pictures(tmp_path))
    assert heading == "## Input" and case.workload in lines


def test_wrong_tokens_are_no_row_with_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    case = reading.GROUP.cases(QUICK)[2].only((OURS,))
    monkeypatch.setattr(Worker, "call", lambda *args, **options: [1, 2])
    (row,) = runner.measure(case, lambda row: None, limits=LIMITS)
    assert row["status"] == "wrong" and "not those of the text" in str(row["reason"])


def test_the_text_is_the_same_each_time_and_of_its_size() -> None:
    path = texts.generated(50_000)
    content = path.read_text("utf-8")
    assert abs(path.stat().st_size - 50_000) < 2_000
    words = content.lower().split()
    assert len(set(words)) > 1_000 and content.count(".") > 100 and "é" in content
    texts.generated.cache_clear()
    assert texts.generated(50_000).read_text("utf-8") == content
