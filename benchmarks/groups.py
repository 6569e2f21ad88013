"""The groups of cases by name."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks import compilation, devices, generation, language, recurrence, reference
from benchmarks.case import Case, Options

__all__ = ["GROUPS"]

GROUPS: dict[str, Callable[[Options], list[Case]]] = {
    "reference": reference.cases,
    "recurrence": recurrence.grid,
    "deepbench": recurrence.deepbench,
    "sequence-scaling": recurrence.sequence_scaling,
    "hidden-scaling": recurrence.hidden_scaling,
    "batch-scaling": recurrence.batch_scaling,
    "vocabulary": language.vocabulary,
    "training": language.training,
    "generation": generation.cases,
    "truncation": language.truncation,
    "devices": devices.cases,
    "compile": compilation.cases,
}
