"""Whole training steps of language models: by one call a step, and by 20 steps in one call."""

from __future__ import annotations

from benchmarks.group import COLUMNS, Group
from benchmarks.measuring import language
from benchmarks.measuring.case import Case, Options
from benchmarks.measuring.workloads import Language
from benchmarks.reporting.sections import plain

__all__ = ["GROUP"]

# By whether the run is a quick one. D2L's characters, the reference model's words, Zaremba et al.'s
# small and medium models (without dropout).
_WORKLOADS: dict[bool, tuple[Language, ...]] = {
    False: (
        Language("characters", "gru", 28, 256, 32, 35, learning_rate=1.0, clip=1.0),
        Language("words", "rnn", 8000, 100, 1, 45, 100, learning_rate=0.005),
        Language("ptb-small", "lstm", 10_000, 200, 20, 20, 200, 2, 1.0, 5.0),
        Language("ptb-medium", "lstm", 10_000, 650, 20, 35, 650, 2, 1.0, 5.0),
    ),
    True: (
        Language("characters", "gru", 28, 32, 4, 12, learning_rate=1.0, clip=1.0),
        Language("words", "rnn", 300, 16, 1, 12, 16),
        Language("stack", "lstm", 300, 32, 4, 8, 32, 2, 1.0, 5.0),
    ),
}


def _cases(options: Options) -> list[Case]:
    return [
        language.case(GROUP.name, workload, pass_name, options, rank=0 if index < 2 else 1)
        for index, workload in enumerate(_WORKLOADS[options.quick])
        for pass_name in ("step", "many-steps")
    ]


GROUP = Group(
    "training",
    _cases,
    COLUMNS,
    "Whole training steps, many inside one compiled call.",
    plain(),
)
