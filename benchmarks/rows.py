"""A row: what one implementation came to in one pass of one workload, and where it was measured.

A result file is a row a line, as JSON. `Row` states every key with its meaning; whatever does not
apply to a row is null in it.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, NotRequired, TypedDict, TypeVar

__all__ = [
    "LEAST_PAIRS", "QUIET", "STEADY", "Key", "Row", "by", "key_of", "measured", "near", "number",
    "relative_spread", "settled", "step_us", "unsteady",
]  # fmt: skip

# What a row is to meet: the 95 % interval of its median lies within this part of it, and the share
# of the cores that other processes kept busy meanwhile is below that.
STEADY, QUIET = 0.03, 0.05
# The least and the greatest of five hold the true median between them in 15 of 16 cases, those of
# six in 31 of 32: with fewer rounds no interval has 95 %, and an error has no measure.
LEAST_PAIRS = 6

Row = TypedDict(
    "Row",
    {
        # What was measured: the first four, dtype and precision identify a row.
        "group": Annotated[str, "the group of cases"],
        "workload": Annotated[str, "the workload's name, which states its shape"],
        "pass": Annotated[str, 'what is computed, such as "forward+backward" or "step"'],
        "implementation": Annotated[str, 'who computes it; "published …" was not measured here'],
        "equations": Annotated[str | None, "which equations, a name of the oracle's `EQUATIONS`"],
        "dtype": Annotated[str, "of parameters and inputs"],
        "precision": Annotated[str, "of float32 products, as `jax.default_matmul_precision`"],
        # How it went.
        "status": Annotated[str, "ok, unavailable, wrong, out-of-memory, out-of-time, failed"],
        "reason": Annotated[str | None, "why there is no time"],
        # Times, in milliseconds a step unless the name has another unit.
        "ms_of": Annotated[str, "what one step is"],
        "median_ms": Annotated[float | None, "median of the rounds, of each the median call"],
        "low_ms": Annotated[float | None, "lower end of its 95 % interval, by ranks"],
        "high_ms": Annotated[float | None, "upper end"],
        "q25_ms": Annotated[float | None, "lower quartile of all clocked calls"],
        "q75_ms": Annotated[float | None, "their upper quartile"],
        "calls": Annotated[int | None, "how many calls were clocked"],
        "steps_per_call": Annotated[int | None, "steps that are clocked together"],
        "rounds_ms": Annotated[list[float] | None, "the median call of each round, in order"],
        "ratio": Annotated[float | None, "this median by that of ours; above 1 ours is faster"],
        "ratio_low": Annotated[
            float | None, "lower end of its 95 % interval: a bootstrap of pairs"
        ],
        "ratio_high": Annotated[float | None, "upper end"],
        "control_ms": Annotated[float | None, "median of the control, which took turns with it"],
        "control_rounds_ms": Annotated[list[float] | None, "its median call of each round"],
        # On a CPU only, and where the work is done in this process.
        "cpu_rounds_ms": Annotated[list[float] | None, "processor time, as `rounds_ms`"],
        "control_cpu_rounds_ms": Annotated[list[float] | None, "the control's"],
        # Of calls that take less than a second.
        "dispatch_ms": Annotated[float | None, "until a call returns, its work going on"],
        "compile_s": Annotated[float | None, "seconds of compiling"],
        # Memory, by the compiler's account.
        "temp_bytes": Annotated[int | None, "temporaries"],
        "peak_bytes": Annotated[int | None, "all memory of the program at its fullest"],
        "program_bytes": Annotated[int | None, "length of the compiled program's text"],
        # Work and speed.
        "flops": Annotated[float | None, "operations of a step's matrix products, on paper"],
        "bytes": Annotated[float | None, "bytes a step that no implementation avoids"],
        "gflops_per_s": Annotated[float | None, "`flops` by the median"],
        "fraction_of_ceiling": Annotated[float | None, "of the GFLOP/s that the ceilings allow"],
        "ceiling_gflops_per_s": Annotated[float | None, "what they allow for its flops and bytes"],
        "gemm_gflops_per_s": Annotated[float | None, "this machine's ceiling: the best product"],
        "copy_gb_per_s": Annotated[float | None, "this machine's ceiling: an array in memory"],
        "value": Annotated[float | None, "work a second, in `unit`"],
        "unit": Annotated[str | None, 'such as "tokens/s"'],
        "tokens_per_s": Annotated[float | None, "`value` where its unit is tokens/s"],
        "latency_ms_per_token": Annotated[float | None, "the median where a step is one token"],
        "joules_per_step": Annotated[float | None, "energy, of calls of its own after the clock"],
        "tokens_per_joule": Annotated[float | None, "`value` a second by it, if in tokens/s"],
        "energy_reason": Annotated[str | None, "why there is no energy"],
        "p95_ms": Annotated[
            float | None, "95th percentile of a token's latency, where one is given"
        ],
        "p99_ms": Annotated[float | None, "99th; null where too few were taken to know it"],
        "latencies": Annotated[
            int | None, "how many: of tokens, or of calls where all come at once"
        ],
        # The workload's sizes.
        "B": Annotated[int | None, "batch"],
        "T": Annotated[int | None, "steps in time"],
        "H": Annotated[int | None, "hidden units"],
        "D": Annotated[int | None, "input features, or the embedding's size"],
        "V": Annotated[int | None, "tokens in the vocabulary"],
        "layers": Annotated[int | None, "recurrent layers"],
        "cell": Annotated[str | None, "rnn, relu, gru or lstm"],
        "truncation": Annotated[str | None, "where gradients stop, as `--truncation` has it"],
        "devices": Annotated[int | None, "devices that share a batch"],
        "published_ms": Annotated[float | None, "a time that others have published"],
        # Where and when.
        "versions": Annotated[dict[str, str], "installed packages that the implementation uses"],
        "device": Annotated[str, "the accelerator, as JAX names it"],
        "device_count": Annotated[int, "how many of them JAX sees"],
        "platform": Annotated[str, "cpu, gpu or tpu"],
        "processor": Annotated[str | None, "the CPU's model"],
        "cpu_count": Annotated[int | None, "its cores"],
        "machine": Annotated[str, "its architecture"],
        "system": Annotated[dict[str, Any], "more of it: see `benchmarks.measuring.system`"],
        "load_average": Annotated[float | None, "processes in the minute before the case"],
        "python": Annotated[str, "version of Python"],
        "jax": Annotated[str, "version of JAX"],
        "numpy": Annotated[str, "version of NumPy"],
        "xla_flags": Annotated[str | None, "the environment's XLA_FLAGS"],
        "matmul_precision": Annotated[str | None, "JAX's default precision during the run"],
        "date": Annotated[str, "when, in UTC"],
        "commit": Annotated[str | None, 'of this checkout; "-dirty" where files had changed'],
        "load_average_after": Annotated[float | None, "processes in the minute before its end"],
        "throttled": Annotated[bool | None, "whether heat or a quota slowed the CPUs meanwhile"],
        "waited_s": Annotated[float | None, "seconds waited before, for the machine to be quiet"],
        "busy_share": Annotated[float | None, "of the cores: what others kept busy while timed"],
        # Only in rows that were timed since it is recorded.
        "case_budget_s": NotRequired[
            Annotated[float, "seconds that its case had for rounds beyond the first, which all get"]
        ],
        # In rows of generated tokens only.
        "temperature": NotRequired[Annotated[float, "of drawing; 0 is the likeliest token"]],
        # In rows of the reference step only.
        "times_faster_than_loop": NotRequired[Annotated[float | None, "the loop's time by this"]],
        "of_floor": NotRequired[Annotated[float | None, "this time by that of the floor"]],
        # In rows of steps on several devices only; programs that are compiled for one have none.
        "all_reduces": NotRequired[Annotated[int | None, "all-reduces in the compiled step"]],
        "all_reduces_in_loops": NotRequired[Annotated[int | None, "those inside a loop"]],
        "all_reduces_run": NotRequired[Annotated[int | None, "how many a step runs"]],
        "all_reduce_bytes": NotRequired[Annotated[int | None, "what a device hands to all those"]],
        # In rows of PyTorch and ONNX Runtime only.
        "threads": NotRequired[Annotated[int | None, "the fastest tried; 0 is its own choice"]],
        # In rows of PyTorch's loss in chunks only.
        "chunk_rows": NotRequired[Annotated[int | None, "rows of a chunk; 0 is its own choice"]],
        # In rows of JAX's other libraries only, where they have the option.
        "unroll": NotRequired[Annotated[int | None, "steps an iteration takes; the fastest tried"]],
        # In rows of peers only that the suite would time in another form now.
        "older_form": NotRequired[Annotated[str, "how the form was chosen, or what it is"]],
        # In rows of processes of their own only.
        "corpus_bytes": NotRequired[Annotated[int | None, "the text's size, or its tokens'"]],
        "resident_bytes": NotRequired[Annotated[int | None, "most memory of it and its children"]],
        "resident_before_bytes": NotRequired[Annotated[int | None, "before it began to work"]],
        # In rows of laws only; errors are parts of the largest element of their array.
        "largest_error": NotRequired[Annotated[float, "the largest error of all arrays"]],
        "allowed_error": NotRequired[Annotated[float, "what the dtype and precision allow"]],
        "error_in": NotRequired[Annotated[str, "the array that it is in"]],
        # In rows from NVIDIA GPUs only, as nvidia-smi names and formats them.
        "driver_version": NotRequired[Annotated[str, "the driver"]],
        "power.limit": NotRequired[Annotated[str, "the power limit"]],
        "clocks.max.sm": NotRequired[Annotated[str, "the highest clock"]],
    },
)

Key = tuple[object, ...]
_KEY = ("group", "workload", "pass", "implementation", "dtype", "precision")
AnyRow = TypeVar("AnyRow", bound=Mapping[str, Any])


def key_of(row: Mapping[str, Any]) -> Key:
    """What identifies a row within its file."""
    return tuple(row.get(name) for name in _KEY)


def settled(rows: Iterable[Mapping[str, Any]]) -> frozenset[Key]:
    """What a resumed run leaves alone: it tries again what failed, or ran out of something."""
    again = ("failed", "out-of-memory", "out-of-time")
    return frozenset(key_of(row) for row in rows if row.get("status") not in again)


def measured(rows: Iterable[AnyRow]) -> list[AnyRow]:
    """The rows that have a time; where a key was measured twice, the last."""
    return list({key_of(row): row for row in rows if row.get("median_ms")}.values())


def by(rows: Iterable[AnyRow], *names: str) -> dict[tuple[Any, ...], list[AnyRow]]:
    """Rows that have the same values under ``names``, in the order in which they come.

    Example:
      >>> rows = [{"cell": "gru", "T": 1}, {"cell": "lstm", "T": 1}, {"cell": "gru", "T": 2}]
      >>> {key: len(same) for key, same in by(rows, "cell").items()}
      {('gru',): 2, ('lstm',): 1}
    """
    alike: dict[tuple[Any, ...], list[AnyRow]] = {}
    for row in rows:
        alike.setdefault(tuple(row.get(name) for name in names), []).append(row)
    return alike


def number(row: Mapping[str, Any], name: str) -> float:
    """What stands under a key of a row that has a number there.

    Example:
      >>> number({"median_ms": 2.5}, "median_ms")
      2.5
    """
    value: float = row[name]
    return value


def step_us(row: Mapping[str, Any]) -> float | None:
    """Microseconds that a row takes for one of its steps in time.

    Example:
      >>> step_us({"median_ms": 2.0, "T": 100})
      20.0
    """
    median, length = row.get("median_ms"), row.get("T")
    if not median or not length:
        return None
    # Of generation the median is of one step itself.
    return 1e3 * float(median) / (1 if row.get("latency_ms_per_token") else float(length))


def relative_spread(row: Mapping[str, Any]) -> float:
    """The standard deviation, by the quartiles, as part of the median."""
    low, high = row.get("q25_ms"), row.get("q75_ms")
    if low is None or high is None:
        return 0.0
    return float((high - low) / (2 * statistics.NormalDist().inv_cdf(0.75)) / row["median_ms"])


def near(ends: tuple[float, float] | None, middle: float, part: float = STEADY) -> bool:
    """Whether both ends of an interval are less than this part of its middle away from it."""
    return ends is not None and all(abs(end - middle) < part * middle for end in ends)


def unsteady(row: Mapping[str, Any]) -> list[str]:
    """Why a time or its ratio is not as sure as it ought to be; empty where it is, or has no time.

    Older rows have no interval and no share of busy cores. Their quartiles, which were to be less
    than `STEADY` apart, stand for the one, and nothing for the other.

    Example:
      >>> unsteady({"median_ms": 2.0, "low_ms": 1.9, "high_ms": 2.1, "busy_share": 0.25})
      ['known to 5 %', 'others kept 25 % of the cores busy']
    """
    median, ratio = row.get("median_ms"), row.get("ratio")
    if not median:
        return []
    reasons = []
    if "low_ms" not in row:
        low, high = row.get("q25_ms"), row.get("q75_ms")
        if low is not None and high is not None and high - low >= STEADY * median:
            reasons.append(f"quartiles {100 * (high - low) / median:.0f} % apart")
    elif row["low_ms"] is None:
        reasons.append("too few rounds for an interval")
    else:
        ends = row["low_ms"], row["high_ms"]
        if not near(ends, median):
            reasons.append(f"known to {_percent(ends, median)}")
        if ratio and row.get("ratio_low") is not None:
            ends = row["ratio_low"], row["ratio_high"]
            if not near(ends, ratio):
                reasons.append(f"its ratio known to {_percent(ends, ratio)}")
    share = row.get("busy_share")
    if share is not None and share >= QUIET:
        reasons.append(f"others kept {100 * share:.0f} % of the cores busy")
    return reasons


def _percent(ends: tuple[float, float], middle: float) -> str:
    return f"{100 * max(abs(end - middle) for end in ends) / middle:.0f} %"
