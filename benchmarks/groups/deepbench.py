"""The recurrent problems of DeepBench's training set, and the times published for some of them."""

from __future__ import annotations

from benchmarks.group import COLUMNS, Group
from benchmarks.measuring.case import Case, Options
from benchmarks.measuring.implementation import PASSES
from benchmarks.measuring.layers import case, scaled
from benchmarks.measuring.workloads import Recurrence
from benchmarks.reporting.pictures import Pictures
from benchmarks.reporting.sections import BY_PEER, OVER_ALL
from benchmarks.reporting.summary import NotedRow, by_peer, footnote, marked, summary
from benchmarks.rows import by, measured

__all__ = ["DEEPBENCH", "GROUP", "PUBLISHED"]

# Every recurrent problem of DeepBench's training set, (cell, H, B, T). Its input product is left
# out of the time; a layer's smallest input is one feature, so D = 1 on all sides.
DEEPBENCH: tuple[tuple[str, int, int, int], ...] = (
    *(("relu", h, b, 50) for h in (1760, 2048, 2560) for b in (16, 32, 64, 128)),
    *(("lstm", h, b, 25) for h in (512, 1024, 2048, 4096) for b in (16, 32, 64, 128)),
    *(("lstm", 1536, b, 50) for b in (8, 16, 32)),
    *(("lstm", 256, b, 150) for b in (16, 32, 64)),
    *(("gru", h, 32, t) for h in (2816, 2560, 2048, 1536) for t in (1500, 750, 375, 187)),
    ("gru", 1024, 32, 1500),
    ("gru", 1024, 64, 1500),
    ("gru", 512, 32, 1),
)
# Milliseconds in float32, of the forward pass alone and of all that was timed, as DeepBench gives
# them: V100 in results/train/DeepBench_NV_V100.xlsx, the gradients of data and weights included;
# the others in its README, of a program (code/nvidia/rnn_bench.cu) without that of the weights.
PUBLISHED: dict[tuple[str, int, int, int], dict[str, tuple[float | None, float]]] = {
    ("lstm", 512, 64, 25): {"published V100": (1.34, 1.34 + 1.26 + 0.44)},
    ("lstm", 1024, 128, 25): {
        "published V100": (3.25, 3.25 + 3.02 + 2.11),
        "published TITAN Xp": (None, 9.76),
    },
    ("lstm", 256, 16, 150): {"published V100": (4.54, 4.54 + 5.07 + 0.22)},
    ("gru", 2816, 32, 1500): {
        "published V100": (223.0, 223.0 + 329.0 + 155.0),
        "published TITAN X Pascal": (None, 1790.75),
    },
    ("relu", 1760, 16, 50): {
        "published V100": (4.20, 4.20 + 2.88 + 0.59),
        "published TITAN X Pascal": (None, 7.75),
    },
    ("relu", 2560, 32, 50): {"published TITAN X Maxwell": (None, 21.99)},
}


def _cases(options: Options) -> list[Case]:
    """All of the training set; most telling: what was published."""
    problems = [p for p in DEEPBENCH if not options.quick or p[1] * p[3] < 60_000]
    problems = [min(problems, key=lambda p: p[1] * p[2] * p[3])] if options.quick else problems
    return [
        case(
            GROUP.name,
            Recurrence(
                cell, batch, length, hidden, 1, dtype=options.dtype, precision=options.precision
            ),
            pass_name,
            rank=_rank(cell, hidden, batch, length),
            # NumPy stands in the grid and in the sizes; here it would take as long as all others.
            names=tuple(name for name in scaled(cell) if name != "numpy-vectorised"),
            published={
                name: milliseconds
                for name, both in PUBLISHED.get((cell, hidden, batch, length), {}).items()
                if (milliseconds := both[index]) is not None
            },
        )
        for cell, hidden, batch, length in problems
        # DeepBench's "vanilla" layers have a ReLU; --cells rnn takes them.
        if options.cells is None or {"relu": "rnn"}.get(cell, cell) in options.cells
        for index, pass_name in enumerate(PASSES[:2])
    ]


def _rank(cell: str, hidden: int, batch: int, length: int) -> int:
    known = (cell, hidden, batch, length) in PUBLISHED
    # The largest have outputs of a gigabyte, which are compared with the oracle on the host.
    small = batch * length * hidden < 5e7
    return 0 if known and small else 1 if known else 2 if hidden < 2000 else 3


def _section(group: Group, rows: list[NotedRow], pictures: Pictures) -> list[str]:
    timed = measured(rows)
    published = [row for row in rows if row.get("published_ms")]
    if not (timed or published):
        return []
    about = group.caption
    if published:
        names = [row["implementation"].removeprefix("published ") for row in published]
        about += (
            f" The published times are DeepBench's own, in float32 on NVIDIA GPUs "
            f"({', '.join(dict.fromkeys(names))}); none of them was measured here. Those of a V100 "
            "are of the forward pass and both gradients; the program that timed the TITANs leaves "
            "the gradient of the weights out. Forward is that of training, which keeps what the "
            "gradients need, where here it keeps nothing."
        )
    parts = ["## DeepBench", about]
    compared = [row for row in timed if row.get("ratio")]
    if compared:
        lines = [
            line | {"cell": cell} for (cell,), own in by(compared, "cell").items()
            for line in marked(own)
        ]  # fmt: skip
        parts += [OVER_ALL, summary(lines, "cell"), BY_PEER]
    for (pass_name,), same in by([*timed, *published], "pass").items():
        parts += [f"### DeepBench, {pass_name}", by_peer(same), footnote(same)]
    return parts


GROUP = Group(
    "deepbench",
    _cases,
    COLUMNS,
    "The recurrent problems of DeepBench's training set. It leaves the input product out; "
    "layers here have one input feature, the x1 in their names.",
    _section,
    in_roofline=True,
)
