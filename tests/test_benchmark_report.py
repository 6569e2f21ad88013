"""`python -m benchmarks report`: a page that is true to its rows, and straight-line fits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.__main__ import main
from benchmarks.fits import affine_fit, slope

COMMON = {
    "status": "ok", "dtype": "float32", "precision": "highest", "device": "a CPU",
    "platform": "cpu", "cpu_count": 2, "machine": "x86_64", "python": "3.11", "date": "2026-01-02",
    "load_average": 0.5, "versions": {"jax": "1.2.3"}, "gemm_gflops_per_s": 100.0,
    "copy_gb_per_s": 10.0,
}  # fmt: skip


def row(group: str, workload: str, name: str, ms: float, **more: Any) -> dict[str, Any]:
    return {
        **COMMON, "group": group, "workload": workload, "pass": "forward+backward",
        "implementation": name, "median_ms": ms, "q25_ms": ms * 0.99, "q75_ms": ms * 1.01,
        "flops": 1e6, "bytes": 1e5, "gflops_per_s": 1 / ms, "fraction_of_ceiling": 0.01 / ms,
        "cell": "lstm", **more,
    }  # fmt: skip


def some_rows() -> list[dict[str, Any]]:
    rows = [
        row("recurrence", "lstm-a", "rnn_jax", 2.0),
        row("recurrence", "lstm-a", "torch", 1.0, ratio=0.5),
        row("recurrence", "lstm-b", "rnn_jax", 2.0),
        row("recurrence", "lstm-b", "torch", 16.0, ratio=8.0),
        row("reference", "words", "numpy-loop", 50.0),
        row("reference", "words", "jax-scan", 2.0),
        row("deepbench", "gru-x", "rnn_jax", 500.0),
        row("deepbench", "gru-x", "published V100", 1.0, median_ms=None, published_ms=7.25),
        row("generation", "chars", "rnn_jax", 0.1, value=10_000.0, unit="tokens/s"),
    ]
    rows += [row("sequence-scaling", f"T{T}", "rnn_jax", 1 + T / 8, T=T) for T in (8, 16, 32, 64)]
    gone = {"status": "unavailable", "reason": "keras is not installed", "median_ms": None}
    return [*rows, row("recurrence", "lstm-a", "keras", 1.0, **gone)]


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return str(path)


def test_the_page_says_what_the_rows_say(tmp_path: Path) -> None:
    file, out = write(tmp_path / "rows.jsonl", some_rows()), tmp_path / "page"
    assert main(["report", file, "--out", str(out)]) == 0
    page = (out / "README.md").read_text()
    squeezed = " ".join(page.split())
    for part in (
        "| torch | 2.000 | 0.500 | 1 | 2 |",  # headline: geometric mean, worst, lost
        "| NumPy, double loop | 25.000 |",
        "| lstm-a | 2.000 | **0.50** |",  # a lost row, in bold
        "| lstm-b | 2.000 | 8.00 |",
        "1 + 0.125 T | T = 8 … 64 | 0%",
        "| published V100 | 7.250 |",
        "| keras | unavailable | keras is not installed | 1 rows of recurrence |",
        "| chars | forward+backward | rnn_jax | 0.100 | 10,000 | tokens/s |",
        "jax 1.2.3",
        "100 GFLOP/s in a large product",
    ):
        assert part in squeezed
    pictures = {path.name for path in out.glob("*.png")}
    assert pictures == {"recurrence.png", "sequence-scaling.png", "roofline.png"}
    assert all(f"({name})" in page for name in pictures)


def test_the_same_rows_make_the_same_bytes(tmp_path: Path) -> None:
    file = write(tmp_path / "rows.jsonl", some_rows())
    for name in ("a", "b"):
        main(["report", file, "--out", str(tmp_path / name)])
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_two_machines_stand_side_by_side(tmp_path: Path) -> None:
    gpu = [
        r | {"device": "a GPU", "platform": "gpu", "median_ms": (r["median_ms"] or 0) / 10}
        for r in some_rows()
    ]
    files = [write(tmp_path / n, rows) for n, rows in (("cpu", some_rows()), ("gpu", gpu))]
    assert main(["report", *files, "--out", str(tmp_path / "page")]) == 0
    page = " ".join((tmp_path / "page" / "README.md").read_text().split())
    assert "| lstm-a | forward+backward | float32 | 2.000 | 0.200 |" in page
    assert (tmp_path / "page" / "roofline-gpu.png").exists()


def test_only_the_marked_part_of_a_page_changes(tmp_path: Path) -> None:
    file, readme = write(tmp_path / "rows.jsonl", some_rows()), tmp_path / "README.md"
    readme.write_text("before\n<!-- benchmarks -->\nold\n<!-- /benchmarks -->\nafter\n")
    command = ["report", file, "--out", str(tmp_path / "page"), "--readme", str(readme)]
    assert main(command) == 0
    once = readme.read_text()
    assert once.startswith("before\n<!-- benchmarks -->\n") and "old" not in once
    assert once.endswith("<!-- /benchmarks -->\nafter\n") and "double loop" in once
    assert once.count(".png") == 2
    assert main(command) == 0 and readme.read_text() == once


def test_bad_input_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, readme = write(tmp_path / "rows.jsonl", some_rows()), tmp_path / "README.md"
    readme.write_text("no marks")
    out = ["--out", str(tmp_path / "page"), "--readme"]
    assert main(["report", file, *out, str(readme)]) == 2
    assert "needs <!-- benchmarks -->" in capsys.readouterr().err
    assert readme.read_text() == "no marks"
    assert main(["report", file, *out, str(tmp_path / "none")]) == 2
    assert main(["report", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.count("\n") == 2


@given(
    st.floats(0, 100), st.floats(0.01, 10), st.integers(3, 8), st.floats(1.5, 20),
    st.integers(0, 2**16),
)  # fmt: skip
def test_the_fit_finds_the_line_and_where_it_ends(
    fixed: float, each: float, points: int, bend: float, seed: int
) -> None:
    sizes = [2**n for n in range(points + 1)]
    noise = np.random.default_rng(seed).uniform(0.995, 1.005, points + 1)
    times = [(fixed + each * n) * e for n, e in zip(sizes, noise, strict=True)]
    fit = affine_fit(sizes, times, tolerance=0.02)
    assert fit is not None and (fit.low, fit.high) == (1, sizes[-1]) and fit.error <= 0.02
    for n in sizes:
        assert fit.fixed_ms + fit.each_ms * n == pytest.approx(fixed + each * n, rel=0.03)
    times[-1] *= bend * 2
    bent = affine_fit(sizes, times, tolerance=0.02)
    assert bent is None or bent.high < sizes[-1] or bent.low > 1


def test_no_line_through_two_points_and_a_slope() -> None:
    assert affine_fit([1, 2], [1.0, 2.0], 0.1) is None
    assert affine_fit([1, 2, 4], [9.0, 4.0, 1.0], 0.1) is None
    assert slope([4, 1, 2], [16.0, 1.0, 4.0]) == pytest.approx(2)
