"""The groups of cases by name."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks import compilation, recurrence, reference
from benchmarks.case import Case, Options

__all__ = ["GROUPS"]

GROUPS: dict[str, Callable[[Options], list[Case]]] = {
    "reference": reference.cases,
    "recurrence": recurrence.grid,
    "deepbench": recurrence.deepbench,
    "sequence-scaling": recurrence.sequence_scaling,
    "hidden-scaling": recurrence.hidden_scaling,
    "batch-scaling": recurrence.batch_scaling,
    "compile": compilation.cases,
}
