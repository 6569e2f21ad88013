"""`python -m benchmarks compare`: noise is no change, a planted slowdown is found."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.__main__ import main
from benchmarks.groups.recurrence import GRID
from benchmarks.measuring.workloads import recurrences
from benchmarks.reporting.compare import Change, compare
from benchmarks.result_files import read_rows
from benchmarks.rows import by, relative_spread


def rows(
    seed: int,
    *,
    machine: float = 1.0,
    slower: float = 1.0,
    noise: float = 0.06,
    all_but_control: float = 1.0,
    shared: float = 0.0,
) -> Any:
    """The recurrence grid on a noisy machine; rnn_jax's rows ``slower`` times as slow.

    shared: the noise that all rows of one implementation have in common.
    """
    rng, truth = np.random.default_rng(seed), np.random.default_rng(0)
    noisy = []
    own = {name: math.exp(rng.normal(0, shared)) for name in ("rnn_jax", "torch", "haiku")}
    for workload in recurrences(GRID[False]):
        for pass_name in ("forward", "forward+backward"):
            drift = machine * math.exp(rng.normal(0, 0.1))  # while this case was measured
            for name, factor in (("rnn_jax", slower), ("torch", 1.0), ("haiku", 1.0)):
                true = math.exp(truth.normal(2, 1))
                true *= all_but_control * own[name]
                median = true * factor * drift * math.exp(rng.normal(0, noise))
                noisy.append(
                    {
                        **workload.facts(),
                        "group": "recurrence", "pass": pass_name, "implementation": name,
                        "median_ms": median, "q25_ms": median * 0.97, "q75_ms": median * 1.04,
                        "control_ms": 2.0 * drift * math.exp(rng.normal(0, noise / 2)),
                    }
                )  # fmt: skip
    return noisy


def rounds_of(
    seed: int, *, slower: float = 1.0, loaded: bool = True, with_cpu: bool = True, shapes: int = 2
) -> Any:
    """Rows with their rounds, of a machine at a load of four: most rounds meet another process.

    What that costs is without a bound; the processor's time only scatters. A case's rounds share
    a slow drift, and how busy the machine is changes from case to case.
    """
    rng, truth, count = np.random.default_rng(seed), np.random.default_rng(0), 20
    made = []
    for workload in recurrences(GRID[False][:shapes]):
        for pass_name in ("forward", "forward+backward"):
            met, drift = rng.uniform(0.5, 0.9), np.exp(np.cumsum(rng.normal(0, 0.02, count)))

            def times(true: float, met: float = met, drift: np.ndarray = drift) -> tuple[Any, Any]:
                scatter = true * drift * np.exp(rng.normal(0, 0.04, count))
                longer = np.where(rng.random(count) < met, 1 + rng.pareto(1.1, count), 1)
                return scatter * (longer if loaded else 1), scatter

            control, control_cpu = times(2.0)
            for name, factor in (("rnn_jax", slower), ("torch", 1.0), ("haiku", 1.0)):
                own, own_cpu = times(math.exp(truth.normal(2, 1)) * factor)
                q25, median, q75 = np.percentile(own, [25, 50, 75]).tolist()
                made.append(
                    {
                        **workload.facts(),
                        "group": "recurrence", "pass": pass_name, "implementation": name,
                        "median_ms": median, "q25_ms": q25, "q75_ms": q75,
                        "control_ms": float(np.median(control)),
                        "rounds_ms": own.tolist(), "control_rounds_ms": control.tolist(),
                        "cpu_rounds_ms": own_cpu.tolist() if with_cpu else None,
                        "control_cpu_rounds_ms": control_cpu.tolist() if with_cpu else None,
                        "busy_share": 0.7 if loaded else 0.0,
                    }
                )  # fmt: skip
    return made


SEEDS = range(1, 21)


@pytest.mark.parametrize(("before", "after"), [(True, True), (False, True), (False, False)])
def test_at_a_load_of_four_a_fifth_is_found_and_nothing_else(before: bool, after: bool) -> None:
    found = alarms = 0
    for seed in SEEDS:
        old = rounds_of(seed, loaded=before)
        same = compare(old, rounds_of(seed + 100, loaded=after))
        worse = compare(old, rounds_of(seed + 200, loaded=after, slower=1.2))
        alarms += bool(same.regressions)
        found += bool(worse.regressions)
        assert same.by_processor == (12 * 3 if before or after else 0)
    # None or one of twenty: were it one of five, this would be so once in fourteen times.
    assert alarms <= 1 and found >= len(SEEDS) - 1


def test_rnn_jax_is_slower_where_one_of_its_ways_is() -> None:
    def with_ways(seed: int, slower: float) -> Any:
        made = rounds_of(seed, loaded=False, slower=slower)
        ours = [row for row in made if row["implementation"] == "rnn_jax"]
        same = [r for r in rounds_of(seed, loaded=False) if r["implementation"] == "rnn_jax"]
        return same + [row | {"implementation": "rnn_jax-chunked:8"} for row in ours]

    for seed in SEEDS:
        old = with_ways(seed, 1.0)
        assert not compare(old, with_ways(seed + 100, 1.0)).regressions
        found = {
            c.row["implementation"] for c in compare(old, with_ways(seed + 200, 1.5)).regressions
        }
        assert found == {"rnn_jax-chunked:8"}


def moved(row: Any, wall: float, processor: float) -> Any:
    """A row of a later run whose own and whose control's times have moved by as much."""
    new = row | {n: row[n] * wall for n in ("median_ms", "q25_ms", "q75_ms", "control_ms")}
    for name, factor in (("rounds_ms", wall), ("cpu_rounds_ms", processor)):
        for whose in ("", "control_"):
            own = row[whose + name]
            new[whose + name] = own and [factor * ms for ms in own]
    return new | {"busy_share": 0.5}


@pytest.mark.parametrize("lacks", ["cpu_rounds_ms", "control_cpu_rounds_ms"])
def test_a_row_and_its_control_are_compared_by_the_same_kind_of_time(lacks: str) -> None:
    # A worker measures rows whose processor time this process does not know.
    old = [row | {lacks: None} for row in rounds_of(1, loaded=False)]
    judged = compare(old, [moved(row, 1.6, 1.0) for row in old])
    assert judged.by_processor == 0
    np.testing.assert_allclose([change.ratio for change in judged.rows], 1)
    assert {change.verdict for change in judged.rows} == {"no change"}


@pytest.mark.parametrize("known", ["rnn_jax", "torch", "haiku"])
def test_witnesses_are_of_the_same_kind_of_time(known: str) -> None:
    old = [
        row if row["implementation"] == known else row | {"cpu_rounds_ms": None}
        for row in rounds_of(1, loaded=False)
    ]
    new = [moved(row, 1.6, 1.0) for row in old]
    judged = compare(old, new)
    assert judged.by_processor == len(old) // 3
    assert {change.verdict for change in judged.rows} == {"no change"}
    np.testing.assert_allclose([change.ratio for change in judged.rows], 1)


def test_where_no_processor_time_is_known_alarms_are_as_few() -> None:
    found = alarms = 0
    for seed in SEEDS:
        old = rounds_of(seed, with_cpu=False, shapes=6)
        alarms += bool(compare(old, rounds_of(seed + 100, with_cpu=False, shapes=6)).regressions)
        worse = rounds_of(seed + 200, with_cpu=False, slower=1.5, shapes=6)
        found += bool(compare(old, worse).regressions)
    assert alarms <= 1
    assert found >= 10  # a half more, in a half of all runs: no more can be told by the clock alone


def test_a_file_without_rounds_is_compared_by_its_medians() -> None:
    new = rounds_of(1, loaded=False)
    bare = [{k: v for k, v in row.items() if "rounds" not in k} for row in new]
    runs: list[tuple[Any, Any]] = [(bare, new), (new, bare)]
    for old, other in runs:
        judged = compare(old, other)
        assert not judged.by_processor
        np.testing.assert_allclose([c.ratio for c in judged.rows], 1)


@pytest.mark.parametrize("seed", range(1, 21))
def test_two_runs_of_one_commit_are_no_change(seed: int) -> None:
    judged = compare(rows(seed), rows(seed + 100, machine=1.25))
    assert not judged.regressions
    whole = [change for change in judged.groups if change.row["pass"] == "all"]
    assert {change.verdict for change in whole} == {"no change"}


@pytest.mark.parametrize("seed", range(1, 21))
def test_a_slowdown_of_a_fifth_is_found_and_put_where_it_is(seed: int) -> None:
    judged = compare(rows(seed), rows(seed + 100, machine=0.8, slower=1.2))
    assert judged.regressions
    verdicts = {
        (c.row["implementation"], c.verdict) for c in judged.groups if c.row["pass"] == "all"
    }
    assert verdicts == {("rnn_jax", "slower"), ("torch", "no change"), ("haiku", "no change")}


@pytest.mark.parametrize("factor", [1.13, 0.88])
@pytest.mark.parametrize("seed", range(1, 21))
def test_what_moves_the_peers_too_is_no_change_of_ours(seed: int, factor: float) -> None:
    judged = compare(rows(seed), rows(seed + 100, all_but_control=factor))
    ours = {c.verdict for c in judged.groups if c.row["implementation"] == "rnn_jax"}
    assert ours == {"no change"} and not judged.regressions
    shift = judged.shifts["recurrence"]
    assert math.exp(shift.log) == pytest.approx(factor, rel=0.05)
    assert shift.peers == ("torch", "haiku")


@pytest.mark.parametrize("seed", range(1, 21))
def test_a_slowdown_is_found_beside_what_moves_all(seed: int) -> None:
    judged = compare(rows(seed), rows(seed + 100, all_but_control=1.13, slower=1.2))
    (ours,) = (
        c for c in judged.groups if (c.row["implementation"], c.row["pass"]) == ("rnn_jax", "all")
    )
    assert ours.verdict == "slower" and ours.ratio == pytest.approx(1.2, rel=0.08)


def test_one_peer_is_no_witness() -> None:
    old, new = ([r for r in rows(s) if r["implementation"] != "haiku"] for s in (1, 2))
    assert not compare(old, new).shifts
    two = [r | {"implementation": "rnn_jax-remat"} for r in old if r["implementation"] == "torch"]
    assert not compare([*old, *two], [*new, *two]).shifts


def test_noise_that_rows_share_is_no_change() -> None:
    runs = [compare(rows(s, shared=0.03), rows(s + 100, shared=0.03)) for s in range(1, 41)]
    assert sum(bool(judged.regressions) for judged in runs) <= 2
    for judged in runs:
        passes = [c for c in judged.groups if c.row["pass"] != "all"]
        usual = np.median([_scatter(judged.rows, c) for c in passes])
        assert all(c.noise >= usual / 2 for c in judged.groups)


def _scatter(rows: list[Change], group: Change) -> float:
    """The standard deviation of a group's rows, by the median deviation."""
    names = ("implementation", "pass")
    own = [math.log(c.ratio) for c in rows if all(c.row.get(n) == group.row.get(n) for n in names)]
    return float(np.median(np.abs(np.array(own) - np.median(own))) * 1.4826) * 0.999


def test_a_slower_machine_changes_nothing() -> None:
    old = rows(1)
    scaled = [row | {n: row[n] * 3 for n in row if n.endswith("_ms")} for row in old]
    judged = compare(old, scaled)
    assert {change.verdict for change in judged.rows} == {"no change"}
    np.testing.assert_allclose([change.ratio for change in judged.rows], 1)


def test_one_row_twice_as_slow_is_named_and_missing_rows_are_listed() -> None:
    old, new = rows(1, noise=0.02), rows(2, noise=0.02)
    new[6] |= {n: new[6][n] * 2 for n in ("median_ms", "q25_ms", "q75_ms")}
    new[7] |= {"median_ms": None, "reason": "OutOfMemory"}
    judged = compare(old, new)
    (change,) = judged.regressions
    assert change.row["workload"] == new[6]["workload"] and 1.7 < change.ratio < 2.3
    assert judged.missing == [f"recurrence/{new[7]['workload']}/{new[7]['pass']}/torch"]
    assert not judged.new


def write(path: Path, run: Any) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in run), encoding="utf-8")
    return str(path)


def test_the_command_says_it_and_its_exit_code_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = write(tmp_path / "old", rows(1))
    same, worse = write(tmp_path / "same", rows(2)), write(tmp_path / "worse", rows(3, slower=1.3))
    assert main(["compare", old, same]) == 0
    assert capsys.readouterr().out.endswith("rnn_jax: no change\n")
    assert main(["compare", old, worse]) == 1
    assert "| slower" in capsys.readouterr().out
    assert main(["compare", worse, old]) == 0
    assert "faster in part" in capsys.readouterr().out
    few = write(tmp_path / "few", rows(1)[:2])
    assert main(["compare", few, few]) == 0
    printed = capsys.readouterr().out
    assert printed.count("no change") == 3 and "0 of 2 single rows" in printed


def test_few_rows_beside_a_group_are_shown_and_rows_of_others_alone_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    peers = [row for row in rows(1) if row["implementation"] != "rnn_jax"]
    few = next(row for row in rows(1) if row["implementation"] == "rnn_jax")
    file = write(tmp_path / "few", [*peers, few | {"group": "stacks"}])
    assert main(["compare", file, file]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if "stacks" in line]
    assert [few["workload"] in line and "rnn_jax" in line for line in lines] == [True]
    file = write(tmp_path / "peers", peers)
    assert main(["compare", file, file]) == 2
    assert "no measured row of rnn_jax in common" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "has no rows"),
        ("[1]\n", "line 1 is no row"),
        ('{"workload": "w", "pass": "p", "implementation": "i"}\n{"wor', "line 2 is no row"),
        ('{"workload": "w", "pass": "p", "implementation": "i"}\n', "no measured row in common"),
    ],
)
def test_bad_files_are_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, sentence: str
) -> None:
    (tmp_path / "bad").write_text(content, encoding="utf-8")
    assert main(["compare", write(tmp_path / "good", rows(1)), str(tmp_path / "bad")]) == 2
    assert sentence in capsys.readouterr().err
    assert main(["compare", str(tmp_path / "bad"), str(tmp_path / "none")]) == 2
    good = str(tmp_path / "good")
    assert main(["compare", good, good, "--threshold", "-1"]) == 2


def test_runs_that_cannot_be_compared_are_refused_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = rows(1), rows(2)
    new[3]["control_ms"] = None
    for names, lacks in (((old, new), "NEW"), ((new, old), "OLD")):
        files = [write(tmp_path / str(n), run) for n, run in enumerate(names)]
        assert main(["compare", *files]) == 2
        printed = capsys.readouterr().err
        assert f"{lacks} lacks the control's time" in printed and printed.count("\n") == 1
    # Two files without any are compared by their times.
    bare = [r | {"control_ms": None} for r in old]
    assert not compare(bare, bare).regressions
    for name in ("device", "platform"):
        one, other = ([r | {name: value} for r in old[:3]] + old[3:] for value in ("this", "that"))
        files = [write(tmp_path / value, run) for value, run in (("a", one), ("b", other))]
        assert main(["compare", *files]) == 2
        printed = capsys.readouterr().err
        assert f"the {name} this and NEW on that" in printed and printed.count("\n") == 1


def test_other_versions_are_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, other = (
        [r | {"jax": v, "versions": {"jax": v, "numpy": "2"}} for r in rows(1)]
        for v in ("0.9", "0.10")
    )
    # One row of another machine is no other machine.
    one[0]["processor"], other[0]["processor"] = "Xeon", "EPYC"
    files = [write(tmp_path / name, run) for name, run in (("a", one), ("b", other))]
    assert main(["compare", *files]) == 0
    printed = capsys.readouterr().out
    assert "warning: jax differs: 0.9 in OLD, 0.10 in NEW\n" in printed
    assert "warning: processor differs: Xeon in OLD, EPYC in NEW\n" in printed
    assert printed.count("warning") == 2
    assert "recurrence: the 2 peers (torch, haiku) moved by 1.000 in the median" in printed
    assert main(["compare", files[0], files[0]]) == 0
    assert "warning" not in capsys.readouterr().out


def test_reading_and_spread() -> None:
    assert relative_spread({"median_ms": 1.0}) == 0
    row = {"median_ms": 2.0, "q25_ms": 2 - 0.6745 * 0.1, "q75_ms": 2 + 0.6745 * 0.1}
    assert relative_spread(row) == pytest.approx(0.05, rel=1e-3)
    assert [len(same) for same in by(rows(1), "implementation").values()] == [36, 36, 36]
    with pytest.raises(ValueError, match="cannot be read"):
        read_rows("no/such/file")
