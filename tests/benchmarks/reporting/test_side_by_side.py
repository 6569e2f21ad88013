"""`python -m benchmarks compare` of two machines: side by side, and nothing is judged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.__main__ import main
from benchmarks.machines import other_machine
from benchmarks.reporting.side_by_side import side_by_side
from tests.benchmarks.reporting.test_report import some_rows, write


def on(processor: str, faster: float = 1.0, **more: Any) -> list[Any]:
    names = ("median_ms", "q25_ms", "q75_ms", "low_ms", "high_ms")
    return [
        row
        | {"processor": processor, **more}
        | {name: row[name] / faster for name in names if row.get(name)}
        for row in some_rows()
    ]


def test_two_machines_are_put_side_by_side(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = write(tmp_path / "epyc.jsonl", on("EPYC")[:-1])
    two = write(tmp_path / "xeon.jsonl", on("Xeon", 2.0, cpu_count=8)[1:])
    assert main(["compare", one, two]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for part in (
        "| | epyc | xeon |",
        "| processor | EPYC | Xeon |",
        "| cpu_count | 2 | 8 |",
        "| group | implementation | pass | dtype | rows | epyc / xeon |",
        # Twice as fast there, and torch by ours the same on both.
        f"| recurrence | torch | forward+backward | float32 | 2 |{' 2.000 |' * 5}",
        "| lstm-b | forward+backward | torch | float32 | 16.000 | 8.000 | 2.000 | 8.000 | 8.000 |",
        "Only epyc has 1 further rows, such as recurrence/lstm-a/forward+backward/rnn_jax.",
    ):
        assert part in text
    assert "slower" not in text and "no change" not in text


def test_one_machine_is_side_by_side_when_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [write(tmp_path / name, on("EPYC", n)) for n, name in enumerate("ab", 1)]
    assert main(["compare", *files, "--side-by-side"]) == 0
    assert capsys.readouterr().out.startswith("# Two runs side by side")
    assert not other_machine(on("EPYC"), on("EPYC")) and other_machine(on("EPYC"), on("Xeon"))


def test_cpus_of_one_name_differ_by_their_models(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = (
        on("EPYC", faster, system={"family": "25", "model": model, "stepping": "1"})
        for faster, model in ((1.0, "1"), (2.0, "17"))
    )
    files = [write(tmp_path / name, rows) for name, rows in (("a", one), ("b", other))]
    assert main(["compare", *files]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert text.startswith("# Two machines side by side")
    assert "| model | family 25, model 1, stepping 1 | family 25, model 17, stepping 1 |" in text
    # Rows from before it was recorded may be of either.
    assert not other_machine(one, on("EPYC")) and not other_machine(on("EPYC"), other)


def test_dtypes_are_apart() -> None:
    half = {"dtype": "bfloat16", "gemm_gflops_per_s": 400.0}
    loop = {"group": "reference", "dtype": "float64"}
    one, two = (
        [row | {"gemm_gflops_per_s": product} for row in (*rows, rows[0] | loop)]
        + [row | half for row in on(name, 4 * faster)]
        for name, product, faster in (("EPYC", 200.0, 1.0), ("Xeon", 100.0, 2.0))
        for rows in [on(name, faster)]
    )
    text = " ".join(side_by_side(one, two).split())
    assert "| gemm_gflops_per_s, float32 | 200.000 | 100.000 |" in text
    assert "| gemm_gflops_per_s, bfloat16 | 400.000 | 400.000 |" in text
    assert "gemm_gflops_per_s, float64" not in text
    for dtype in ("float32", "bfloat16"):
        assert f"| recurrence | torch | forward+backward | {dtype} | 2 | 2.000 |" in text


def test_a_mean_counts_the_older_forms_in_it() -> None:
    one, two = on("EPYC"), on("Xeon", 2.0)
    assert "of them °" not in side_by_side(one, two)
    peers = [row for row in one if row["implementation"] == "torch"]
    peers[0]["older_form"] = "the library's default"
    text = " ".join(side_by_side(one, two).split())
    mean = f"| recurrence | torch | forward+backward | float32 | 2 |{' 2.000 |' * 5}"
    assert f"{mean} 0 | 1 |" in text


def test_a_quotient_has_an_interval_where_both_times_have_one() -> None:
    sure = {"low_ms": 1.98, "high_ms": 2.02}
    one, two = on("EPYC")[:1], on("Xeon", 2.0)[:1]
    assert "95 %" not in side_by_side(one, two).split("## recurrence")[1]
    one, two = ([rows[0] | sure] for rows in (one, two))
    two[0] |= {"low_ms": 0.99, "high_ms": 1.01}
    text = " ".join(side_by_side(one, two).split())
    assert "| 2.000 | 1.000 | 2.000 | 1.972 … 2.028 |" in text


def test_nothing_in_common_is_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [
        write(tmp_path / "a", on("EPYC")[:1]),
        write(tmp_path / "b", on("Xeon")[2:3]),
    ]
    assert main(["compare", *files]) == 2
    assert "no measured row in common" in capsys.readouterr().err
