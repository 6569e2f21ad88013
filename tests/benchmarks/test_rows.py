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
from benchmarks.rows import Row
from rnn_jax.recipes.reference_step import Workload

RESULTS = Path(benchmarks.__file__).parent / "results"
# Keys of rows that were measured on an NVIDIA GPU.
GPU = {"driver_version", "power.limit", "clocks.max.sm"}
# Keys that were added since: no committed row has them before the suite is run again.
NOT_YET = {
    "temperature", "ms_of", "system", "joules_per_step", "tokens_per_joule", "energy_reason",
}  # fmt: skip
# Keys that were added after some of the committed rows had been measured.
LATER = {"program_bytes", "ceiling_gflops_per_s", *NOT_YET}
# Keys of the groups that are measured in processes of their own.
OTHERS = {
    "all_reduces", "all_reduces_in_loops", "all_reduces_run", "all_reduce_bytes",
    "temperature", "corpus_bytes", "resident_bytes", "resident_before_bytes",
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
    assert row.keys() - GPU == Row.__required_keys__
    small = Workload(vocab_size=30, hidden_size=4, length=6, window=2, sentences=3)
    for row in written(reference.reference_case(small)):
        assert row.keys() - GPU == Row.__annotations__.keys() - GPU - OTHERS


def test_the_committed_rows_have_the_keys_that_are_documented() -> None:
    lines = (RESULTS / "cpu-2-cores.jsonl").read_text(encoding="utf-8").splitlines()
    keys = [json.loads(line).keys() for line in lines]
    assert set().union(*keys) == Row.__annotations__.keys() - GPU - NOT_YET
    assert set.intersection(*map(set, keys)) == Row.__required_keys__ - LATER
