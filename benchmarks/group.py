"""What a group of cases is: one value, which states all that the suite has to know about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.measuring.case import Case, Options
from benchmarks.measuring.roofline import Roofline
from benchmarks.reporting.pictures import Pictures
from benchmarks.reporting.summary import NotedRow
from benchmarks.reporting.tables import Line
from benchmarks.rows import Row

__all__ = ["COLUMNS", "Group"]

COLUMNS = (
    "implementation", "equations", "median_ms", "ms_95", "ratio", "ratio_95", "calls",
    "dispatch_ms", "compile_s", "temp_bytes", "fraction_of_ceiling", "value", "unit", "reason",
)  # fmt: skip


@dataclass(frozen=True)
class Group:
    """A group of cases, from what it measures to its section on the page of results.

    name: on the command line and in the rows.
    cases: what it measures under the options of a run; listing it costs nothing.
    columns: those of the table that a run prints for each of its cases.
    caption: what it shows, for the page: under its heading, or as the text of its picture.
    section: its part of the page, as Markdown blocks, made from its rows of one machine and dtype.
    closing: prints at the end of a run what needs all of the group's rows.
    headline: its lines in the page's first table, and the footnote that belongs to them; without
      lines, a sentence that stands above the table.
    roofline: what its rows say of the machine's ceilings; such a group is measured before others.
    summarised: whether its ratios are to rnn_jax and belong in the summary at the end of a run.
    accelerator_only: whether a run measures it only where it is named, and ``accelerator`` always.
    several_devices: whether it runs on as many as 8 devices, which a CPU stands for.
    follows_dtype: whether its rows are in the run's ``--dtype``.
    in_roofline: whether its training passes are points of the roofline.
    above_roofline: whether its section stands above the roofline on the page, not below.
    apart: how its implementations were timed, where not by turns in one process.
    in_readme: whether its picture is among those that ``report --readme`` links.
    """

    name: str
    cases: Callable[[Options], list[Case]]
    columns: Sequence[str]
    caption: str
    section: Callable[[Group, list[NotedRow], Pictures], list[str]]
    closing: Callable[[list[Row]], None] | None = None
    headline: Callable[[list[NotedRow]], tuple[list[Line], str]] | None = None
    roofline: Callable[[list[NotedRow]], Roofline | None] | None = None
    summarised: bool = True
    accelerator_only: bool = False
    several_devices: bool = False
    follows_dtype: bool = True
    in_roofline: bool = False
    above_roofline: bool = False
    apart: str = ""
    in_readme: bool = False
