"""`python -m benchmarks report`: a page that is true to its rows, and straight-line fits."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import benchmarks
from benchmarks.__main__ import main

COMMON = {
    "status": "ok", "dtype": "float32", "precision": "highest", "device": "a CPU",
    "platform": "cpu", "cpu_count": 2, "machine": "x86_64", "python": "3.11", "date": "2026-01-02",
    "load_average": 0.5, "versions": {"jax": "1.2.3"}, "gemm_gflops_per_s": 100.0,
    "copy_gb_per_s": 10.0,
}  # fmt: skip


def row(group: str, workload: str, name: str, ms: float, **more: Any) -> dict[str, Any]:
    common = {
        **COMMON, "group": group, "workload": workload, "pass": "forward+backward",
        "implementation": name, "median_ms": ms, "q25_ms": ms * 0.99, "q75_ms": ms * 1.01,
        "flops": 1e6, "bytes": 1e5, "gflops_per_s": 1 / ms, "fraction_of_ceiling": 0.01 / ms,
        "ceiling_gflops_per_s": 100.0, "cell": "lstm",
    }  # fmt: skip
    return common | more


def ceilings(gflops: float, gb: float) -> list[dict[str, Any]]:
    own = {"cell": None, "gflops_per_s": None, "pass": "whole device"}
    return [
        row("ceilings", "product-2", "xla", 1.0, bytes=None, value=gflops, unit="GFLOP/s", **own),
        row("ceilings", "update-1", "xla", 1.0, flops=None, bytes=2e3, value=4 * gb, unit="GB/s",
            **own),
        row("ceilings", "update-2", "xla", 1.0, flops=None, bytes=2e9, value=gb, unit="GB/s",
            **own),
    ]  # fmt: skip


def times(row: dict[str, Any], factor: float) -> dict[str, Any]:
    """Those of a machine that is so much faster."""
    return {name: (row[name] or 0) / factor for name in ("median_ms", "q25_ms", "q75_ms")}


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
        row("deepbench", "gru-x", "published TITAN Xp", 1.0, median_ms=None, published_ms=9.5),
        row("generation", "chars", "rnn_jax", 0.1, value=10_000.0, unit="tokens/s"),
    ]
    rows += ceilings(100.0, 10.0)
    rows += [row("sequence-scaling", f"T{T}", "rnn_jax", 1 + T / 8, T=T, H=T, B=4)
             for T in (8, 16, 32, 64)]  # fmt: skip
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
        "is 25.0 times (± 0.52) as fast as the published NumPy loop in float32",
        "± is one standard deviation of single calls, by their quartiles",
        "| lstm-a | 2.000 | **0.50 ± 0.01** |",  # a lost row, in bold
        "| lstm-b | 2.000 | 8.00 ± 0.17 |",
        "One layer, forward and backward, B = 4, H = T. ",
        "1 + 0.125 T | T = 8 … 64 | 0%",
        "| workload | rnn_jax, ms | published V100, ms | published TITAN Xp, ms |",
        "| gru-x | 500.000 | 7.250 | 9.500 |",
        "on NVIDIA GPUs (V100, TITAN Xp); none of them was measured here",
        "| keras | unavailable | keras is not installed | 1 row of recurrence |",
        "| chars | forward+backward | rnn_jax | 0.100 | 10,000 | tokens/s |",
        "jax 1.2.3",
        "100 GFLOP/s in the best product, 10.0 GB/s in memory, 40.0 GB/s in the fastest cache",
        "Nothing is above its ceiling.",
        "rnn_jax is nearest at lstm-a (0%), and of all torch at lstm-a (1%).",
    ):
        assert part in squeezed
    pictures = {path.name for path in out.glob("*.png")}
    assert pictures == {"recurrence.png", "sequence-scaling.png", "roofline.png"}
    assert all(f"({name})" in page for name in pictures)


def test_the_means_of_deepbench_are_by_cell(tmp_path: Path) -> None:
    rows = [
        row("deepbench", f"{cell}-{index}", "torch", 1.0, ratio=ratio, cell=cell)
        for cell, ratios in {"gru": (2.0, 8.0), "lstm": (0.5, 0.5)}.items()
        for index, ratio in enumerate(ratios)
    ]
    page = " ".join(report_of(tmp_path, [*some_rows(), *rows]).split())
    assert "| gru | torch | forward+backward | 2 | 4.000 | - | 2.000 | gru-0 | 0 |" in page
    assert "| lstm | torch | forward+backward | 2 | 0.500 | - | 0.500 | lstm-0 | 2 |" in page


def test_what_is_above_its_ceiling_has_a_footnote(tmp_path: Path) -> None:
    fast = row("recurrence", "lstm-c", "torch", 0.005, fraction_of_ceiling=1.2)
    page = report_of(tmp_path, [*some_rows(), fast])
    assert "‡ Above its ceiling" in page and "torch at lstm-c (1.20)" in page


def test_an_older_rows_share_of_its_ceiling_is_left_out(tmp_path: Path) -> None:
    old = row("recurrence", "lstm-c", "torch", 0.005, fraction_of_ceiling=1.18)
    del old["ceiling_gflops_per_s"]
    page = report_of(tmp_path, [*some_rows(), old])
    assert "Nothing is above its ceiling." in page
    assert "Left out: 1 row of an older run, whose ceilings" in page
    (tmp_path / "old").mkdir()
    page = report_of(tmp_path / "old", [old])
    assert "timed into fresh memory" in page and "GFLOP/s" not in page
    assert not list((tmp_path / "old" / "page").glob("roofline*"))


def test_the_page_says_what_each_library_on_it_does_otherwise(tmp_path: Path) -> None:
    rows = [*some_rows(), row("recurrence", "lstm-a", "torch-compile", 1.0)]
    end = report_of(tmp_path, rows).split("## What each library does otherwise\n")[1]
    assert end.count("\n- ") == 2 and "- `torch`, `torch-compile` has kernels" in end
    assert "- `numpy-loop` has no differentiation" in end
    assert "keras" not in end  # which has no time


def test_the_same_rows_make_the_same_bytes(tmp_path: Path) -> None:
    file = write(tmp_path / "rows.jsonl", some_rows())
    for name in ("a", "b"):
        main(["report", file, "--out", str(tmp_path / name)])
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_two_machines_stand_side_by_side(tmp_path: Path) -> None:
    gpu = [r | {"device": "a GPU", "platform": "gpu"} | times(r, 10) for r in some_rows()]
    files = [write(tmp_path / n, rows) for n, rows in (("cpu", some_rows()), ("gpu", gpu))]
    assert main(["report", *files, "--out", str(tmp_path / "page")]) == 0
    page = " ".join((tmp_path / "page" / "README.md").read_text().split())
    assert "| workload | pass | a CPU (cpu), float32 | a GPU (gpu), float32 |" in page
    assert "| lstm-a | forward+backward | 2.000 | 0.200 |" in page
    assert (tmp_path / "page" / "roofline-gpu-float32-highest.png").exists()


def test_dtypes_and_precisions_are_parts_of_their_own(tmp_path: Path) -> None:
    gpu = [r | {"device": "a GPU", "platform": "gpu"} for r in some_rows()]
    tf32 = [r | {"precision": "high"} | times(r, 4) for r in gpu]
    half = [r | {"dtype": "bfloat16"} | times(r, 5) for r in gpu if r["group"] != "reference"]
    default = [r | {"precision": "default"} for r in gpu if r["group"] != "reference"]
    loop = row("reference", "words", "numpy-loop", 50.0, dtype="float64", device="a GPU")
    loop |= {"platform": "gpu"}
    # The precise run is not the first that was measured.
    files = [
        write(tmp_path / str(n), rows)
        for n, rows in enumerate((half, tf32, [*gpu[:4], loop, *gpu[5:]], default))
    ]
    assert main(["report", *files, "--out", str(tmp_path / "page")]) == 0
    page = (tmp_path / "page" / "README.md").read_text()
    titles = [f"a GPU (gpu), {numbers}" for numbers in (
        "float32", "bfloat16", "float32 as TF32 (precision high)",
        "float32 as TF32 (precision default)",
    )]  # fmt: skip
    assert [line[3:] for line in page.splitlines() if line.startswith("## ")] == [
        *titles, "Side by side: rnn_jax, ms", "What each library does otherwise",
    ]  # fmt: skip
    first, second, third, _ = page.split("\n## ")[1:5]
    assert " ".join(first.split()).count("| numpy-loop | float64 | 50.000 |") == 1
    assert "reference step" not in second and "| numpy-loop | float32" in " ".join(third.split())
    squeezed = " ".join(page.split())
    assert "| group | workload | pass | " + " | ".join(titles) + " |" in squeezed
    assert "| recurrence | lstm-a | forward+backward | 2.000 | 0.400 | 0.500 | 2.000 |" in squeezed
    marks = ("", "-gpu-bfloat16-highest", "-gpu-float32-high", "-gpu-float32-default")
    assert {p.name for p in (tmp_path / "page").glob("roofline*")} == {
        f"roofline{mark}.png" for mark in marks
    }


def test_processors_are_machines_of_their_own(tmp_path: Path) -> None:
    rows = [r | {"processor": name} for name in ("Xeon", "EPYC") for r in some_rows()]
    assert main(["report", write(tmp_path / "f", rows), "--out", str(tmp_path / "page")]) == 0
    page = (tmp_path / "page" / "README.md").read_text()
    assert "## Xeon (cpu), float32\n" in page and "## EPYC (cpu), float32\n" in page
    assert (tmp_path / "page" / "roofline-cpu-float32-highest.png").exists()
    for r in rows:
        r |= {"device": "a GPU", "platform": "gpu"}
    assert main(["report", write(tmp_path / "g", rows), "--out", str(tmp_path / "page")]) == 0
    page = (tmp_path / "page" / "README.md").read_text()
    assert "## a GPU (gpu) beside Xeon, float32\n" in page and "(gpu) beside EPYC" in page


def test_models_of_one_name_are_machines_of_their_own(tmp_path: Path) -> None:
    new = [
        r | {"processor": "EPYC", "system": {"family": "25", "model": model, "stepping": "1"}}
        for model in ("1", "17")
        for r in some_rows()
    ]
    old = [r | {"processor": "EPYC", "system": None} for r in some_rows()]
    page = report_of(tmp_path, [*new, *old])
    named = (f"family 25, model {model}, stepping 1" for model in ("1", "17"))
    for model in (*named, "its model not recorded"):
        assert page.count(f"## EPYC (cpu), {model}, float32\n") == 1
    assert "## EPYC (cpu), family 25, model 1, stepping 1, float32\n" in report_of(
        tmp_path, new[: len(old)]
    )
    assert "## EPYC (cpu), float32\n" in report_of(tmp_path, old)
    for r in new:
        r |= {"device": "a GPU", "platform": "gpu"}
    assert report_of(tmp_path, new).count("\n## a GPU (gpu), float32\n") == 1


def test_counts_of_cores_are_machines_of_their_own(tmp_path: Path) -> None:
    few, many = some_rows(), [r | {"cpu_count": 64} | times(r, 8) for r in some_rows()]
    page = report_of(tmp_path, [*few, *many])
    titles = [f"a CPU (cpu) with {cores} CPU cores, float32" for cores in (2, 64)]
    assert [page.count(f"## {title}\n") for title in titles] == [1, 1]
    squeezed = " ".join(page.split())
    assert "| group | workload | pass | " + " | ".join(titles) + " |" in squeezed
    assert "| lstm-a | forward+backward | 2.000 | 0.250 |" in squeezed


def test_the_page_says_what_the_files_have_of_its_times(tmp_path: Path) -> None:
    old = row("recurrence", "lstm-a", "rnn_jax", 2.0)
    new = old | {"workload": "lstm-b", "low_ms": 1.9, "high_ms": 2.1, "rounds_ms": [2.0] * 6}
    for name, rows, said in (
        ("old", [old], "the quartiles of all, but lack intervals and rounds."),
        ("new", [new], "the quartiles of all, the intervals of all, the rounds of all."),
        (
            "both",
            [old, new],
            "the quartiles of all, the intervals of 1 of 2, the rounds of 1 of 2.",
        ),
    ):
        (tmp_path / name).mkdir()
        page = report_of(tmp_path / name, rows)
        assert f"Times are medians; the files have {said}\n" in page


def test_the_page_says_what_did_not_share_a_process(tmp_path: Path) -> None:
    ours = row("recurrence", "lstm-a", "rnn_jax", 2.0)
    page = report_of(tmp_path, [ours])
    assert "in one process, though not always with all others. Ratios" in page
    names = ("recurrence", "devices", "input", "compiler")
    rows = [ours | {"group": name, "devices": 1, "value": 1.0} for name in names]
    page = report_of(tmp_path, rows)
    assert (
        "though not always with all others; of `devices` and `input` each took turns in a process "
        "of its own; of `compiler` each way had a process of its own, one after the other. "
        "Ratios" in page
    )


def test_rows_above_the_best_product_are_counted_and_named(tmp_path: Path) -> None:
    ours = row("deepbench", "lstm-x", "rnn_jax", 2.0, gflops_per_s=120.0)
    page = report_of(tmp_path, [*some_rows(), ours, ours | {"implementation": "torch"}])
    assert "ceilings, of the newest run of them only: 100 GFLOP/s in the best product" in page
    named = "deepbench/lstm-x/forward+backward: rnn_jax 120, torch 120\n"
    assert "\n- above those 100 GFLOP/s are 2 of " in page and named in page


def test_other_equations_are_marked(tmp_path: Path) -> None:
    def one(cell: str, name: str, equations: str, **more: Any) -> dict[str, Any]:
        return row("recurrence", cell, name, 2.0, equations=equations, **more)

    rows = [
        one("gru-a", "rnn_jax", "gru reset after, two biases"),
        one("gru-a", "torch", "gru reset after", ratio=1.5),
        one("gru-a", "haiku", "gru reset before", ratio=0.75),
        one("lstm-a", "rnn_jax", "lstm"),
        one("lstm-a", "haiku", "lstm", ratio=3.0),
    ]
    assert main(["report", write(tmp_path / "f", rows), "--out", str(tmp_path / "page")]) == 0
    page = " ".join((tmp_path / "page" / "README.md").read_text().split())
    assert "| gru-a | 2.000 | 1.50 ± 0.03 | **0.75 ± 0.02** † |" in page
    assert "| lstm-a | 2.000 | - | 3.00 ± 0.06 |" in page
    assert "| haiku † | forward+backward | 2 | 1.500 |" in page and "torch †" not in page
    assert "haiku (gru reset before for gru reset after). These ratios are counted" in page
    assert "so is the work, but for what is marked †" in page


def test_the_reference_text_is_of_its_row(tmp_path: Path) -> None:
    sizes = {"V": 500, "H": 20, "T": 12}
    rows = [row("reference", "words", n, 5.0, **sizes) for n in ("numpy-loop", "jax-scan")]
    text = report_of(tmp_path, rows)
    assert "V = 500, H = 20, T = 12" in text and "8,000" not in text and "tutorial" not in text
    published = row(
        "reference", "words", "published NumPy loop", 1.0, median_ms=None, published_ms=180.0
    )
    assert "The tutorial gives 180 ms" in report_of(tmp_path, [*rows, published])


def report_of(folder: Path, rows: list[dict[str, Any]]) -> str:
    assert main(["report", write(folder / "f", rows), "--out", str(folder / "page")]) == 0
    return (folder / "page" / "README.md").read_text()


def test_only_the_marked_part_of_a_page_changes(tmp_path: Path) -> None:
    file, readme = write(tmp_path / "rows.jsonl", some_rows()), tmp_path / "README.md"
    readme.write_text("before\n<!-- benchmarks -->\nold\n<!-- /benchmarks -->\nafter\n")
    command = ["report", file, "--out", str(tmp_path / "page"), "--readme", str(readme)]
    assert main(command) == 0
    once = readme.read_text()
    assert once.startswith("before\n<!-- benchmarks -->\n") and "old" not in once
    assert once.endswith("<!-- /benchmarks -->\nafter\n") and "published NumPy loop" in once
    assert "(page/recurrence.png)" in once and "(page/sequence-scaling.png)" in once
    assert "On a CPU (cpu), float32, 2 CPU cores:" in once and "#" not in once
    assert main(command) == 0 and readme.read_text() == once


def test_links_lead_from_the_readme_to_what_was_drawn_now(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    readme = tmp_path / "docs" / "README.md"
    readme.write_text("<!-- benchmarks --><!-- /benchmarks -->")
    out = tmp_path / "page"
    out.mkdir()
    (out / "sequence-scaling.png").write_text("of an earlier run")
    gpu = [r | {"device": "a GPU", "platform": "gpu"} for r in some_rows()]
    cpu = [r for r in some_rows() if r["group"] != "sequence-scaling"]
    files = [write(tmp_path / n, rows) for n, rows in (("cpu", cpu), ("gpu", gpu))]
    assert main(["report", *files, "--out", str(out), "--readme", str(readme)]) == 0
    text = readme.read_text()
    assert "(../page/recurrence.png)" in text and "sequence-scaling" not in text
    assert (out / "sequence-scaling.png").read_text() == "of an earlier run"
    assert (out / "sequence-scaling-gpu-float32-highest.png").exists()


def test_bad_input_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, readme = write(tmp_path / "rows.jsonl", some_rows()), tmp_path / "README.md"
    readme.write_text("no marks")
    out = ["--out", str(tmp_path / "page"), "--readme"]
    assert main(["report", file, *out, str(readme)]) == 2
    assert "needs <!-- benchmarks -->" in capsys.readouterr().err
    assert readme.read_text() == "no marks"
    assert main(["report", file, *out, str(tmp_path / "none")]) == 2
    assert main(["report", str(tmp_path / "none"), *out[:2]]) == 2
    assert main(["report", file, "--out", str(readme)]) == 2
    assert capsys.readouterr().err.count("\n") == 3


@pytest.mark.parametrize(
    ("off", "spread", "holds"), [(1.35, 0.0, False), (1.35, 0.14, True), (2.0, 5.0, False)]
)
def test_the_page_allows_a_time_twice_its_spread_up_to_a_limit(
    tmp_path: Path, off: float, spread: float, holds: bool
) -> None:
    times = {T: (10.0 + T) * (off if T == 16 else 1) for T in (4, 8, 16, 32, 64)}
    rows = [
        row("sequence-scaling", f"T{T}", "rnn_jax", ms, T=T, q25_ms=ms, q75_ms=ms)
        for T, ms in times.items()
    ]
    rows[2] |= {"q75_ms": rows[2]["median_ms"] * (1 + spread * 1.349)}
    page = report_of(tmp_path, rows)
    assert ("T = 4 … 64 " in page) == holds
    assert "15 %, or by more than twice its own spread" in page and "30 %" in page


@pytest.mark.parametrize("name", ["", "xeon", "zen3", "zen4"])
def test_the_committed_pages_are_made_of_the_committed_rows(tmp_path: Path, name: str) -> None:
    results = Path(benchmarks.__file__).parent / "results"
    for page in () if name else results.glob("*/README.md"):  # which the first links to
        shutil.copytree(page.parent, tmp_path / page.parent.name)
    rows = str(results / name / "cpu-2-cores.jsonl")
    assert main(["report", rows, "--out", str(tmp_path)]) == 0
    assert (tmp_path / "README.md").read_bytes() == (results / name / "README.md").read_bytes()
    pictures = {path.name for path in (results / name).glob("*.png")}
    assert {path.name for path in tmp_path.glob("*.png")} == pictures


def test_a_page_links_to_those_in_its_folders(tmp_path: Path) -> None:
    out = tmp_path / "page"
    assert "Pages of other machines" not in report_of(tmp_path, some_rows())
    old = [r | {"processor": "Xeon"} for r in some_rows()]
    half = [r | {"dtype": "bfloat16"} for r in old if r["group"] == "recurrence"]
    rows = write(tmp_path / "old.jsonl", [*old, *half])
    assert main(["report", rows, "--out", str(out / "xeon")]) == 0
    (out / "notes").mkdir()
    (out / "notes" / "README.md").write_text("## Of another kind\n")
    said = "Pages of other machines: [Xeon (cpu), float32; Xeon (cpu), bfloat16](xeon/README.md).\n"
    assert said in report_of(tmp_path, some_rows())


def test_a_peers_time_against_a_size_is_its_ratio_times_ours(tmp_path: Path) -> None:
    rows = [row("sequence-scaling", f"T{T}", "rnn_jax", T / 8, T=T) for T in (8, 16)]
    # Beside slower calls of ours, in another run.
    sure = {"low_ms": 4.95, "high_ms": 5.05, "ratio_low": 1.98, "ratio_high": 2.02}
    rows += [
        row("sequence-scaling", f"T{T}", "torch", 5.0, T=T, ratio=2.0, **sure) for T in (8, 16)
    ]
    (line,) = [t for t in report_of(tmp_path, rows).splitlines() if t.startswith("| lstm | torch")]
    # The intervals go with the time, so that no mark says that it is not sure.
    assert [part.strip() for part in line.split("|")[2:4]] == ["torch", "1.00"]


def test_the_headline_has_a_mean_for_each_cell(tmp_path: Path) -> None:
    rows = [row("recurrence", "gru-a", "rnn_jax", 2.0, cell="gru", equations="gru reset after")]
    rows += [
        row("recurrence", "gru-a", "torch", 8.0, ratio=4.0, cell="gru"),
        row("recurrence", "gru-a", "haiku", 6.0, ratio=3.0, cell="gru", equations="gru otherwise"),
    ]
    page = report_of(tmp_path, [*some_rows(), *rows])
    headline = page.split("### Headline")[1].split("###")[0]
    assert "| lstm | gru |" in " ".join(headline.split())
    assert "| torch | 2.520 | 2.00 | 4.00 |" in " ".join(headline.split())
    assert "| haiku † | 3.000 | - | 3.00 † |" in " ".join(headline.split())


def test_rows_that_were_measured_with_changes_are_named(tmp_path: Path) -> None:
    rows = [*some_rows(), row("reference", "w", "rnn_jax", 1.0, commit="a1-dirty")]
    assert "commit a1-dirty (uncommitted changes: reference)" in report_of(tmp_path, rows)


def test_the_page_says_where_no_other_form_of_a_peer_was_tried(tmp_path: Path) -> None:
    assert "no other form was tried" in report_of(tmp_path, some_rows())
    (tmp_path / "new").mkdir()
    tried = [*some_rows(), row("recurrence", "lstm-a", "flax-linen", 1.0, unroll=4, ratio=0.5)]
    assert "no other form was tried" not in report_of(tmp_path / "new", tried)


def test_forms_that_were_chosen_otherwise_are_marked(tmp_path: Path) -> None:
    assert "° |" not in report_of(tmp_path, some_rows())
    old = {"unroll": 4, "ratio": 0.75, "older_form": "chosen by the shortest of five calls"}
    (tmp_path / "old").mkdir()
    rows = [*some_rows(), row("recurrence", "lstm-a", "flax-linen", 1.5, **old)]
    page = report_of(tmp_path / "old", rows)
    assert "**0.75 ± 0.02** °" in page
    assert "in one product: chosen by the shortest of five calls (1). Another form may be" in page
    summary = page[page.index("## One recurrent layer") :]
    assert "| unsure | ° |" in " ".join(summary.split())
