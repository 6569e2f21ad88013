"""What each kind of truncation costs: the same training step under all of them."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.group import COLUMNS, Group
from benchmarks.measuring import language
from benchmarks.measuring.case import Case, Options
from benchmarks.measuring.workloads import Language
from benchmarks.peers import OURS
from benchmarks.reporting.sections import plain

__all__ = ["GROUP", "TRUNCATIONS"]

TRUNCATIONS = ("full", "chunked:8", "sliding:4", "tail:8", "randomized:0.9")


def _cases(options: Options) -> list[Case]:
    """Every kind on one-hot characters and, unless the run is quick, on the reference model."""
    characters = Language("characters", "gru", 28, 256, 32, 64)
    small = replace(characters, hidden=32, batch=4, length=16)
    words = Language("words", "rnn", 8000, 100, 1, 45, learning_rate=0.005)
    return [
        language.case(
            GROUP.name, replace(workload, truncation=kind), "step", options, rank=1, names=(OURS,)
        )
        for workload in ((small,) if options.quick else (characters, words))
        for kind in TRUNCATIONS
    ]


GROUP = Group(
    "truncation",
    _cases,
    COLUMNS,
    "What each truncation costs: the same step, otherwise. Each is a case of its own, which took "
    "no turns with the others: differences of less than a fifth may be the machine's.",
    plain(),
)
