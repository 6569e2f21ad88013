"""The command from end to end, as a dry run: rows, the page, resuming, and what is refused."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, cast

import pytest

from benchmarks.__main__ import main
from benchmarks.accelerator import command
from benchmarks.accelerator.plan import plan
from benchmarks.measuring.isolated import Isolated, Planned
from benchmarks.measuring.machine import environment
from benchmarks.measuring.runner import Limits, without_time
from benchmarks.rows import Row

# A law by each backend, and a layer beside peers that are not there.
SELECTED = (
    "laws/tanh-3x11x5x4/values+gradients/float32/highest",
    "recurrence/rnn-1x20x16x8/forward+backward/float32/highest",
)

WHERE = environment()


def rows_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_a_dry_run_makes_rows_and_a_page_and_is_resumed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "rows.jsonl"
    arguments = ["accelerator", "--dry-run", "--select", ",".join(SELECTED)]
    # So short that the first case is all there is time for.
    assert main([*arguments, "--minutes", "1e-9", "--out", str(file)]) == 0
    assert "nothing was measured" in capsys.readouterr().out
    assert main([*arguments, "--resume", str(file)]) == 0
    printed, rows = capsys.readouterr().out, rows_of(file)
    assert {row["group"] for row in rows} == {name.split("/")[0] for name in SELECTED}
    told = {row["implementation"]: row["reason"] for row in rows if row["status"] != "ok"}
    assert "cuDNN runs on NVIDIA GPUs alone" in told["jax-cudnn"]
    assert {row["implementation"] for row in rows if row["status"] == "ok"} >= {
        "rnn_jax", "rnn_jax-scan",
    }  # fmt: skip
    law, _ = (row for row in rows if row.get("largest_error") is not None)
    assert 0 < law["largest_error"] < law["allowed_error"] == 1e-5
    assert "µs a step" in printed and "are left out" not in printed
    page = (tmp_path / "rows.md").read_text(encoding="utf-8")
    for part in (
        "A dry run",
        "## Laws",
        "## Microseconds a step in time",
        "tanh-3x11x5x4",
        "jaxlib",
    ):
        assert part in page
    assert "## Not measured" not in page
    assert main([*arguments, "--resume", str(file)]) == 0
    assert rows_of(file) == rows


@pytest.mark.parametrize(
    "status, code",
    [
        ("ok", 0),
        ("unavailable", 0),
        ("out-of-time", 0),
        ("wrong", 1),
        ("failed", 1),
        ("out-of-memory", 1),
    ],
)
def test_a_law_that_is_not_known_to_hold_is_exit_code_1(
    status: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(self: Isolated, index: int, planned: Planned, *rest: Any) -> list[Row]:
        case = planned.case.only(planned.case.implementations[:1])
        (row,) = without_time(case, RuntimeError("its process ended with -11"), WHERE, frozenset())
        row["status"] = status
        return [row]

    monkeypatch.setattr(Isolated, "where", lambda self: WHERE)
    monkeypatch.setattr(Isolated, "measure", measured)
    arguments = ["accelerator", "--dry-run", "--select", SELECTED[0], "--out"]
    assert main([*arguments, str(tmp_path / "rows.jsonl")]) == code
    text = (tmp_path / "rows.md").read_text(encoding="utf-8")
    assert ("These do not hold" in text and "its process ended with -11" in text) == bool(code)


@pytest.mark.parametrize("dry", [False, True])
def test_the_minutes_go_to_neither_waiting_nor_energy(dry: bool) -> None:
    given: list[Limits] = []

    class Processes:
        def measure(self, index: int, planned: Planned, limits: Limits, *rest: Any) -> list[Row]:
            given.append(limits)
            return []

    chosen = list(enumerate(plan(dry)[:3]))
    end = time.perf_counter() + 480
    command._measure(cast(Isolated, Processes()), chosen, [], command._LIMITS[dry], print, end)
    assert [limits.wait_s for limits in given] == [0.0] * 3
    assert not any(limits.energy for limits in given)
    # The minutes left are the bound of a case, and nothing that is waited for.
    assert all(470 < limits.left_s <= 480 for limits in given)
    with pytest.raises(TypeError, match="positional"):
        Limits(10, 3.0, 0.02, 480.0)  # type: ignore[call-arg]


def test_without_an_accelerator_it_names_the_dry_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["accelerator"]) == 2
    refused = capsys.readouterr().err
    assert refused.count("\n") == 1 and "--dry-run" in refused
    assert list(tmp_path.iterdir()) == []


def test_an_empty_part_of_a_selection_selects_nothing() -> None:
    whole = plan(True)
    every = list(enumerate(whole))
    both = [(i, p) for i, p in every if p.case.group in ("laws", "backends")]
    assert command._chosen(whole, "") == every
    assert command._chosen(whole, "laws/, backends/,") == command._chosen(whole, "laws/,backends/")
    assert [i for i, _ in command._chosen(whole, ",laws/,backends/")] == [i for i, _ in both]


@pytest.mark.parametrize(
    "options, sentence",
    [
        (["--minutes", "0"], "--minutes must be above 0, not 0"),
        (["--minutes", "nan"], "--minutes must be above 0, not nan"),
        (["--out", "a", "--resume", "b"], "give one of them"),
        (["--select", "qrnn"], "--select takes parts of names such as ceilings/"),
        (["--select", "laws/,qrnn,"], "and none has 'qrnn'"),
        (["--select", ","], "and none has ','"),
    ],
)
def test_bad_options_are_a_sentence(
    options: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["accelerator", *options]) == 2
    assert sentence in capsys.readouterr().err
