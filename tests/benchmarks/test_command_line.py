"""The command line: what a run writes and prints, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.groups import GROUPS
from benchmarks.machines import MACHINE, model_of
from benchmarks.measuring.case import Options
from benchmarks.peers import OURS


def test_a_quick_run_writes_and_prints_and_never_overwrites(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "rows.jsonl"
    command = ["reference", "--quick", "--implementations", "floor,jax-call", "--rounds", "1"]
    assert main([*command, "--out", str(file)]) == 0
    first = [json.loads(line) for line in file.read_text().splitlines()]
    # The ceilings come first, whatever is chosen, for the other rows state their share of them.
    rows = first[first.index(next(row for row in first if row["group"] != first[0]["group"])) :]
    assert all(GROUPS[row["group"]].roofline for row in first[: -len(rows)])
    assert [row["implementation"] for row in rows] == ["jax-call", "floor"]
    assert rows[0]["gemm_gflops_per_s"] == max(r["value"] for r in first if r["unit"] == "GFLOP/s")
    assert 0 < rows[0]["fraction_of_ceiling"]
    assert "| floor          | float32 | " in capsys.readouterr().out
    for name, sentence in ((file, "exists already"), (tmp_path / "no" / "x", "does not exist")):
        assert main([*command, "--out", str(name)]) == 2
        assert sentence in capsys.readouterr().err
    assert main([*command, "--resume", str(file)]) == 0
    assert "0 rows" in capsys.readouterr().out
    assert len(file.read_text().splitlines()) == len(first)
    for key in MACHINE:
        file.write_text(json.dumps(rows[0] | {key: "no such"}) + "\n")
        assert main([*command, "--resume", str(file)]) == 2
        sentence = f"was measured on another machine, whose {key} is no such and not "
        assert sentence in capsys.readouterr().err
    if model_of(rows[0]) is not None:  # not all processors state it
        system = rows[0]["system"] | {"family": "no", "model": "such", "stepping": "CPU"}
        file.write_text(json.dumps(rows[0] | {"system": system}) + "\n")
        assert main([*command, "--resume", str(file)]) == 2
        sentence = "whose model is family no, model such, stepping CPU and not "
        assert sentence in capsys.readouterr().err
    file.write_text("no row\n")
    assert main([*command, "--resume", str(file)]) == 2
    assert "line 1 is no row" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [file]


def test_the_text_and_the_trace_are_files(tmp_path: Path) -> None:
    hlo, trace = tmp_path / "hlo", tmp_path / "trace"
    command = ["recurrence", "--quick", "--select", "lstm-1x20x16x8/forward+", "--rounds", "1"]
    command += ["--implementations", "rnn_jax,numpy-loop"]
    assert main([*command, "--hlo", str(hlo), "--profile", str(trace)]) == 0
    (text,) = hlo.iterdir()
    assert text.name == "recurrence-lstm-1x20x16x8-forward+backward-float32-highest-rnn_jax.txt"
    assert text.read_text().startswith("HloModule")
    assert list(trace.rglob("*.xplane.pb"))


@pytest.mark.parametrize("quick", [False, True])
def test_the_list_names_everything_once(quick: bool, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list", *(["--quick"] if quick else [])]) == 0
    lines = capsys.readouterr().out.splitlines()[2:]
    names = ["/".join(cell.strip() for cell in line.split("|")[1:4]) for line in lines]
    assert len(set(names)) == len(names)
    groups = [group for group in GROUPS.values() if not group.accelerator_only]
    assert set(GROUPS) - {group.name for group in groups} == {"laws", "backends", "compiler"}
    cases = [case for group in groups for case in group.cases(Options(quick=quick))]
    assert names == [case.name for case in cases]
    assert main(["backends", "compiler", "--list", *(["--quick"] if quick else [])]) == 0
    named = capsys.readouterr().out
    assert "| backends | " in named and "| compiler | " in named and "| laws" not in named


def test_the_list_of_what_is_resumed_leaves_out_what_the_file_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["reference", "--quick", "--rounds", "1", "--implementations"]
    file = str(tmp_path / "rows.jsonl")
    assert main([*small, "numpy-vectorised", "--out", file]) == 0
    capsys.readouterr()
    assert main([*small, "numpy-vectorised,numpy-loop", "--resume", file, "--list"]) == 0
    listed = capsys.readouterr().out
    assert "numpy-loop" in listed and "numpy-vectorised" not in listed


@pytest.mark.parametrize(
    "options, sentence",
    [
        (["speed"], "GROUP must be of ceilings, reference, recurrence"),
        (["--profile", "x"], "--profile traces one workload and pass"),
        (["--out", "x", "--resume", "y"], "give one of them"),
        (["--resume", "/no/such"], "--resume /no/such cannot be read"),
        (["--case-budget", "-1"], "--case-budget must be at least 0"),
        (["--case-budget", "inf"], "--case-budget must be at least 0 seconds, and finite"),
        (["--corpus-mb", "10,many"], "--corpus-mb must be sizes from 0.02"),
        (["--corpus-mb", "0"], "--corpus-mb must be sizes from 0.02"),
    ],
)
def test_bad_options_are_a_sentence(
    options: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(options) == 2
    assert sentence in capsys.readouterr().err


def test_a_quick_run_prints_and_saves_rows_and_overwrites_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "rows.jsonl"
    command = ["recurrence", "--quick", "--cells", "rnn", "--implementations", OURS]
    command += ["--select", "4x12x32x16/forward", "--rounds", "1", "--out", str(file)]
    assert main(command) == 0
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rows = [row for row in rows if row["group"] == "recurrence"]
    assert [row["pass"] for row in rows] == ["forward", "forward+backward"]
    assert {row["reason"] for row in rows} == {None}
    printed = capsys.readouterr().out
    assert "rnn-4x12x32x16, forward+backward" in printed and "| rnn_jax " in printed
    assert main(command) == 2
    assert "exists already" in capsys.readouterr().err
    assert main([*command[:-1], str(tmp_path / "no" / "rows")]) == 2
    assert "does not exist" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options, sentence",
    [
        (["--cells", "rnn,qrnn"], "--cells must be of rnn, gru, lstm, not 'qrnn'"),
        (["--implementations", "jax"], "--implementations must be of rnn_jax, torch"),
        (["--select", "lstm-9"], "nothing is left to measure"),
        (["--implementations", "keras", "--select", "many-steps"], "nothing is left to measure"),
        (["--rounds", "0"], "--rounds must be at least 1, not 0"),
        (["--budget", "-1"], "--budget must be at least 0"),
        (["--budget", "nan"], "--budget must be at least 0"),
    ],
)
def test_bad_options_of_a_group_are_a_sentence(
    options: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["recurrence", *options]) == 2
    assert sentence in capsys.readouterr().err
