"""A row's keys: those that are documented, those that are written, those of the committed rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, get_args, get_origin, get_type_hints

import benchmarks
from benchmarks.groups import reference
from benchmarks.measuring import runner
from benchmarks.measuring.case import Case
from benchmarks.measuring.implementation import Prepared
from benchmarks.measuring.roofline import Roofline
from benchmarks.peers import versions
from benchmarks.rows import QUIET, STEADY, Row, near, unsteady
from rnn_jax.recipes.reference_step import Workload

RESULTS = Path(benchmarks.__file__).parent / "results"
# Keys of rows that were measured on an NVIDIA GPU.
GPU = {"driver_version", "power.limit", "clocks.max.sm"}
# Keys of laws, of which no row is committed.
LAW = {"largest_error", "allowed_error", "error_in"}
# Keys of the groups that are measured in processes of their own, and of single implementations.
OTHERS = {
    "all_reduces", "all_reduces_in_loops", "all_reduces_run", "all_reduce_bytes",
    "corpus_bytes", "resident_bytes", "resident_before_bytes",
    "threads", "unroll", "temperature", "chunk_rows", "older_form",
}  # fmt: skip


def written(case: Case) -> list[Row]:
    limits = runner.Limits(rounds=1, case_s=0)
    return runner.measure(case, lambda row: None, limits=limits, roofline=Roofline(100.0, 10.0))


def test_an_implementation_in_another_way_has_the_versions_of_its_library() -> None:
    ours = versions("rnn_jax")
    assert versions("rnn_jax-2-processes") == ours and "jax" in ours
    assert versions("torch-2-workers") == versions("torch")
    assert versions("published V100") == {}
    assert versions("no-mesh").keys() == {"jax", "jaxlib", "numpy"}


def test_every_key_has_a_meaning() -> None:
    hints = get_type_hints(Row, include_extras=True)
    assert hints.keys() == Row.__annotations__.keys()
    for name, hint in hints.items():
        # NotRequired[Annotated[…]] for keys of some rows only.
        inner = hint if get_origin(hint) is Annotated else get_args(hint)[0]
        assert get_origin(inner) is Annotated, name
        (meaning,) = inner.__metadata__
        assert isinstance(meaning, str) and len(meaning) > 2, name


def test_the_runner_writes_the_keys_that_are_documented() -> None:
    facts = {"workload": "w", "dtype": "float32", "precision": "highest"}
    prepared = Prepared(lambda: None, dict, start=lambda: None)
    case = Case("group", "pass", facts, ("rnn_jax",), lambda: lambda name: prepared)
    (row,) = written(case)
    assert row.keys() - GPU == Row.__required_keys__ | {"case_budget_s"}
    assert row["case_budget_s"] == 0
    small = Workload(vocab_size=30, hidden_size=4, length=6, window=2, sentences=3)
    for row in written(reference.reference_case(small)):
        assert row.keys() - GPU == Row.__annotations__.keys() - GPU - OTHERS - LAW


def test_the_committed_rows_have_the_keys_that_are_documented() -> None:
    lines = (RESULTS / "cpu-2-cores.jsonl").read_text(encoding="utf-8").splitlines()
    keys = [json.loads(line).keys() for line in lines]
    assert set().union(*keys) <= Row.__annotations__.keys() - GPU
    single = {"threads", "unroll", "temperature", "case_budget_s", "older_form", *LAW}
    assert set().union(*keys) >= Row.__annotations__.keys() - GPU - single
    assert set.intersection(*map(set, keys)) >= Row.__required_keys__


def test_what_is_not_sure_is_said_with_its_reason() -> None:
    sure = {"median_ms": 2.0, "low_ms": 1.95, "high_ms": 2.05, "q25_ms": 1.0, "q75_ms": 3.0}
    assert unsteady(sure) == []
    assert unsteady(sure | {"median_ms": None}) == []
    assert unsteady(sure | {"high_ms": 2.2}) == ["known to 10 %"]
    assert unsteady(sure | {"low_ms": None, "high_ms": None}) == ["too few rounds for an interval"]
    compared = sure | {"ratio": 4.0, "ratio_low": 3.6, "ratio_high": 4.1}
    assert unsteady(compared) == ["its ratio known to 10 %"]
    assert unsteady(sure | {"busy_share": QUIET - 1e-9}) == []
    assert unsteady(sure | {"busy_share": 0.5}) == ["others kept 50 % of the cores busy"]
    assert near((1 - STEADY * 0.99, 1.0), 1.0) and not near((1.0, 1 + STEADY), 1.0)
    assert not near(None, 1.0)


def test_an_older_row_has_its_quartiles_for_an_interval() -> None:
    older = {"median_ms": 2.0, "q25_ms": 1.98, "q75_ms": 2.03}
    assert unsteady(older) == []
    assert unsteady(older | {"q75_ms": 2.08}) == ["quartiles 5 % apart"]
    assert unsteady({"median_ms": 2.0}) == []
