"""The reference step timed on this machine: ours beside NumPy, as published and as fast as it gets.

The command line closes a training with it.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

from rnn_jax.host.intervals import ratio_interval
from rnn_jax.recipes.reference_step import PUBLISHED_MS, TURNS, Workload, interleaved, steppers

__all__ = ["NUMPY", "OURS", "compare_step_time", "comparison"]

OURS = "jax-scan"
# What ours is compared with, and as what, in the order in which they are said; the dtype of each.
NUMPY = {
    "numpy-loop": ("the published NumPy loop", "float64"),
    "numpy-loop-float32": ("that loop", "float32"),
    "numpy-vectorised": ("vectorised NumPy", "float32"),
}
# Above either what was measured is not this machine's speed.
BUSY_LOAD = 1.5  # processes a core, in the last minute; a training before it keeps all cores busy
BUSY_SPREAD = 0.1  # of a ratio, to one side
_LEAST_ROUNDS = 3
_SPINNING_S = 0.15


def compare_step_time(
    workload: Workload | None = None, *, rounds: int = 15, budget_s: float = 8.0
) -> str:
    """Measure the reference step here, ours and NumPy's taking turns, and say their ratios.

    No round is begun after ``budget_s`` seconds, but for the first three.

    Raises:
      ValueError: fewer than two rounds.

    Example:
      >>> small = Workload(vocab_size=50, hidden_size=5, length=6, sentences=4)
      >>> print(compare_step_time(small, rounds=2))
      one SGD step of the reference model (V 50, H 5, 6 words, sliding windows of 4), medians of 2:
        rnn_jax, many steps a call, float32 ... ms
        the published NumPy loop, float64 ... ms
        that loop, float32 ... ms
        vectorised NumPy, float32 ... ms
        rnn_jax in float32 is ... times (95 % interval ... to ...) as fast as the published ...
    """
    if rounds < 2:
        raise ValueError(f"rounds must be 2 at least, for an interval of their ratio, not {rounds}")
    work = Workload() if workload is None else workload
    everything = steppers(work)
    chosen = {name: everything[name].repeated(TURNS[name]) for name in (OURS, *NUMPY)}
    for stepper in chosen.values():
        stepper.call()
    seconds: dict[str, list[float]] = {name: [] for name in chosen}
    began = time.perf_counter()
    for done in range(rounds):
        if done >= _LEAST_ROUNDS and time.perf_counter() - began > budget_s:
            break
        _outlast_spinning(chosen[OURS].call)
        once = interleaved({name: stepper.call for name, stepper in chosen.items()}, 1)
        for name, stepper in chosen.items():
            seconds[name].append(once[name][0] / stepper.steps)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return comparison(work, seconds, load, os.cpu_count() or 1)


def _outlast_spinning(call: Callable[[], object]) -> None:
    """Keep calling: after a product NumPy's threads take a core for 0.1 s, which is not ours."""
    began = time.perf_counter()
    while time.perf_counter() - began < _SPINNING_S:
        call()


def comparison(
    workload: Workload, seconds: Mapping[str, Sequence[float]], load: float | None, cores: int
) -> str:
    """What is said of the seconds that a step took in each round, and of how busy the machine was.

    The ratios and their intervals are over pairs of runs, one of each round.
    """
    ours = seconds[OURS]
    lines = [("rnn_jax, many steps a call, float32", ours, "")]
    said, widest = [], 0.0
    for name, (what, dtype) in NUMPY.items():
        published = name == "numpy-loop" and workload == Workload()
        note = f"; the tutorial gives about {PUBLISHED_MS:.0f} ms" if published else ""
        lines.append((f"{what}, {dtype}", seconds[name], note))
        ratio = statistics.median(seconds[name]) / statistics.median(ours)
        low, high = ratio_interval(seconds[name], ours)
        widest = max(widest, ratio / low - 1, high / ratio - 1)
        said.append(
            f"{_times(ratio)} times ({_times(low)} to {_times(high)}) as fast as {what} in {dtype}"
        )
    said[0] = said[0].replace(" times (", " times (95 % interval ", 1)
    busy = []
    if load is not None and load > BUSY_LOAD * cores:
        busy.append(f"its load is {load:.1f} on {cores} core{'s' if cores > 1 else ''}")
    if widest > BUSY_SPREAD:
        busy.append(f"runs differ so much that a ratio is known to {widest:.0%} only")
    text = [
        f"one SGD step of the reference model (V {workload.vocab_size}, H {workload.hidden_size}, "
        f"{workload.length} words, sliding windows of {workload.window}), medians of {len(ours)}:",
        *(f"  {what:<35} {1e3 * statistics.median(t):9.3f} ms{note}" for what, t, note in lines),
        f"  rnn_jax in float32 is {', '.join(said)}",
    ]
    if busy:
        text.append(f"  the machine is busy ({'; '.join(busy)}): time again when it is quiet")
    return "\n".join(text)


def _times(ratio: float) -> str:
    return f"{ratio:.1f}" if ratio >= 10 else f"{ratio:.2f}"
