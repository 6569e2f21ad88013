"""What sliding windows cost beside full backpropagation, and beside running every window."""

from __future__ import annotations

from benchmarks.group import COLUMNS, Group
from benchmarks.measuring import sliding
from benchmarks.measuring.case import Case, Options
from benchmarks.measuring.sliding import SlidingLayers
from benchmarks.reporting.sections import plain

__all__ = ["GROUP"]

# Cell, layers, T and the lags.
_CASES = (
    *((cell, 1, 64, 4) for cell in ("gru", "lstm", "rnn")),
    ("lstm", 2, 64, 4),
    *((cell, 1, 64, lags) for cell in ("gru", "lstm") for lags in (1, 16, 35)),
    *(("lstm", 1, 512, lags) for lags in (4, 35)),
)
_QUICK = (("gru", 1, 16, 4), ("lstm", 2, 16, 1))


def _cases(options: Options) -> list[Case]:
    batch, size = (4, 32) if options.quick else (32, 256)
    return [
        sliding.case(
            GROUP.name,
            SlidingLayers(
                cell, batch, length, size, size, lags=lags, layers=layers,
                dtype=options.dtype, precision=options.precision,
            ),
            rank=0 if lags == 4 and length == 64 else 1,
        )
        for cell, layers, length, lags in (_QUICK if options.quick else _CASES)
        if options.cells is None or cell in options.cells
    ]  # fmt: skip


GROUP = Group(
    "sliding",
    _cases,
    COLUMNS,
    "Sliding windows by lagged pull-backs (rnn_jax), by running every window, and in PyTorch with "
    "all windows side by side as one batch; and full backpropagation, which is another gradient.",
    plain(("workload", "implementation", "median_ms", "ratio", "ratio_95", "temp_mb")),
)
