"""A case: a pass of a workload, with the implementations that take turns on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from benchmarks.measuring.flops import Cost
from benchmarks.measuring.implementation import Prepared
from benchmarks.peers import OURS
from benchmarks.rows import Row

__all__ = ["Case", "Options"]


@dataclass(frozen=True)
class Options:
    """What a group of cases may depend on; ``corpus_mb`` are sizes of a text, None the default.

    platform, device_count: those of the machine, as JAX has them.
    """

    quick: bool = False
    dtype: str = "float32"
    precision: str = "highest"
    cells: tuple[str, ...] | None = None
    corpus_mb: tuple[float, ...] | None = None
    platform: str = "cpu"
    device_count: int = 1


@dataclass(frozen=True)
class Case:
    """One pass of one workload; listing it costs nothing, ``open`` draws its numbers.

    open: gives a function ``name -> Prepared``, compiled and checked against the oracle. It raises
      `Unavailable` for what does not exist, `Wrong` for what computes something else.
    facts: what every row states about the workload, its name under "workload".
    of: what one step is, of which the times are; the page says it over the rows.
    cost: floating-point operations and bytes of one step.
    rank: 0 for the most telling cases, which a run with a budget takes first.
    slow: implementations that a run with a budget leaves for the end.
    ours: the implementation that the ratios divide by.
    published: milliseconds a step of others, by name.
    per_second: a unit, and how many of it one step makes: "tokens", 1120.
    latency: whether a step is one token of each row, so that its time is a token's latency.
    timed: False where compiling is all.
    own: facts of single implementations.
    derive: adds to a case's finished rows what depends on several of them.
    """

    group: str
    pass_name: str
    facts: Mapping[str, Any]
    implementations: tuple[str, ...]
    open: Callable[[], Callable[[str], Prepared]]
    of: str = "a call"
    cost: Cost | None = None
    rank: int = 1
    slow: tuple[str, ...] = ()
    ours: str = OURS
    published: Mapping[str, float] = field(default_factory=dict)
    per_second: tuple[str, float] | None = None
    latency: bool = False
    timed: bool = True
    own: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    derive: Callable[[list[Row]], None] | None = None

    @property
    def workload(self) -> str:
        """The workload's name."""
        name: str = self.facts["workload"]
        return name

    @property
    def name(self) -> str:
        """``group/workload/pass``, in which ``--select`` searches."""
        return f"{self.group}/{self.workload}/{self.pass_name}"

    @property
    def quickly(self) -> Case:
        """The case without its slow implementations."""
        return self.only(tuple(name for name in self.implementations if name not in self.slow))

    def only(self, names: tuple[str, ...]) -> Case:
        """The case with these implementations only."""
        slow = tuple(name for name in self.slow if name in names)
        return replace(self, implementations=names, slow=slow)
