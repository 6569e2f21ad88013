"""What each kind of truncation costs: the same training step under all of them, in turns."""

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
    """On one-hot characters and, unless the run is quick, on the reference model."""
    characters = Language("characters", "gru", 28, 256, 32, 64)
    small = replace(characters, hidden=32, batch=4, length=16)
    words = Language("words", "rnn", 8000, 100, 1, 45, learning_rate=0.005)
    return [_case(one, options) for one in ((small,) if options.quick else (characters, words))]


def _case(workload: Language, options: Options) -> Case:
    """All kinds of one step; "rnn_jax" is `full`, by which the others' ratios are."""
    each = {
        OURS if kind == "full" else f"{OURS}-{kind}": language.case(
            GROUP.name, replace(workload, truncation=kind), "step", options, rank=1, names=(OURS,)
        )
        for kind in TRUNCATIONS
    }
    return replace(
        each[OURS],
        implementations=tuple(each),
        open=lambda: lambda name: each[name].open()(OURS),
        cost=None,  # which would be one for all kinds, and not each has the operations of `full`
        own={name: {"truncation": case.facts["truncation"]} for name, case in each.items()},
    )


GROUP = Group(
    "truncation",
    _cases,
    COLUMNS,
    "What each truncation costs: the same step of rnn_jax under all kinds. A ratio is to full "
    "backpropagation, `rnn_jax` itself, with which the kind took turns. Where no kind has one they "
    "took none: a difference of less than a quarter between those may be the machine's.",
    plain(),
    summarised=False,
)
