"""One recurrent layer, forward, backward and over many steps, beside every peer: the grid."""

from __future__ import annotations

from functools import partial

from benchmarks.group import COLUMNS, Group
from benchmarks.measuring.case import Case, Options
from benchmarks.measuring.implementation import PASSES
from benchmarks.measuring.layers import TRAINED, case, chosen
from benchmarks.measuring.workloads import CELLS, Recurrence, Shape
from benchmarks.peers import IMPLEMENTATIONS
from benchmarks.reporting import plots
from benchmarks.reporting.pictures import Pictures
from benchmarks.reporting.sections import BY_PEER, OVER_ALL
from benchmarks.reporting.summary import (
    SIGN,
    NotedRow,
    by_peer,
    footnote,
    marked,
    summarise,
    summary,
)
from benchmarks.reporting.tables import FORM, UNSURE, Line
from benchmarks.rows import by, measured

__all__ = ["GRID", "GROUP"]

# By whether the run is a quick one. Latency, the book's text, a medium language model, a wide
# batch, a large layer, a long sequence.
GRID: dict[bool, tuple[Shape, ...]] = {
    False: (
        (1, 100, 256, 256),
        (32, 35, 256, 28),
        (20, 35, 650, 650),
        (128, 35, 256, 256),
        (64, 100, 1024, 1024),
        (16, 512, 128, 128),
    ),
    True: ((1, 20, 16, 8), (4, 12, 32, 16)),
}

# Of rows of before the form was chosen by trial: later ones state it.
_AS_THEY_ARE = (
    "Peers are as they are by default: JAX's libraries take one step an iteration, PyTorch its own "
    "number of threads, and no other form was tried."
)


def _cases(options: Options) -> list[Case]:
    """Every shape with every cell and pass; most telling: training an LSTM.

    `torch.compile` takes half a minute for a layer, too long for a quick run.
    """
    names = [n for n in IMPLEMENTATIONS if not (options.quick and n == "torch-compile")]
    return [
        case(GROUP.name, workload, name, rank=_rank(workload, name), names=names)
        for workload in chosen(options, GRID[options.quick], tuple(CELLS))
        for name in PASSES
    ]


def _rank(workload: Recurrence, pass_name: str) -> int:
    trained = pass_name == TRAINED
    return 0 if trained and workload.cell == "lstm" else 1 if trained else 2


def _headline(rows: list[NotedRow]) -> tuple[list[Line], str]:
    trained = [row for row in measured(rows) if row["pass"] == TRAINED]
    cells = [cell for (cell,) in by(trained, "cell")]
    peers = by([row for row in trained if row.get("ratio") is not None], "implementation")
    older = any(row.get("older_form") for row in trained)
    lines = [
        {
            "what": "one layer, forward and backward, geometric mean",
            "beside": line["implementation"],
            "times faster": line["geometric_mean"],
            **(_by_cell(own, cells) if len(cells) > 1 else {}),
            "worst": line["worst"],
            "lost": line["lost"],
            "of": line["workloads"],
            f"of them {UNSURE}": line["unsure"],
            **({f"of them {FORM}": line[FORM]} if older else {}),
        }
        for own in peers.values()
        for line in marked(own)
    ]
    return lines, " ".join(filter(None, (_shapes(trained), footnote(trained, counted=True))))


def _shapes(rows: list[NotedRow]) -> str:
    """Over what the means are, and how to read the columns beside them."""
    if not rows:
        return ""
    shapes = dict.fromkeys(row["workload"].partition("-")[2] for row in rows)
    return (
        f"Of each cell the layers of {', '.join(shapes)} (B, T, H and D), as far as the library "
        "has a time: `times faster` is the mean of its times by ours, below 1 where ours is the "
        "slower one, `worst` the smallest, and `lost` how many `of` them are below 1, surely or "
        "not. Another run may give other second decimals."
    )


def _by_cell(rows: list[NotedRow], cells: list[str]) -> Line:
    """A peer's geometric mean over the workloads of each cell, for peers differ by cell."""
    means: Line = dict.fromkeys(cells)
    for (cell,), own in by(rows, "cell").items():
        (line,) = summarise(own)
        sign = f" {SIGN}" if any(row.get("other") for row in own) else ""
        means[cell] = f"{line['geometric_mean']:.2f}{sign}"
    return means


def _section(group: Group, rows: list[NotedRow], pictures: Pictures) -> list[str]:
    timed = measured(rows)
    if not timed:
        return []
    parts = ["## One recurrent layer"]
    if any(row.get("ratio") for row in timed):
        parts += [
            OVER_ALL,
            summary(marked(timed)),
            footnote(timed, counted=True),
            BY_PEER,
            "" if any({"unroll", "threads"} & row.keys() for row in timed) else _AS_THEY_ARE,
        ]
    for (pass_name,), same in by(timed, "pass").items():
        parts += [
            f"### {pass_name}: milliseconds, and times by ours", by_peer(same), footnote(same),
        ]  # fmt: skip
        if pass_name == TRAINED and any(row.get("ratio") for row in same):
            draw = partial(plots.ratios, rows=same, title="one layer, forward and backward")
            parts.append(pictures.draw(group.name, group.caption, draw))
    return parts


GROUP = Group(
    "recurrence",
    _cases,
    COLUMNS,
    "peers' times by ours",
    _section,
    headline=_headline,
    in_roofline=True,
    above_roofline=True,
    in_readme=True,
)
