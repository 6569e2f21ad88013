"""The reference step: the published word model in NumPy and in JAX, and the step's floor."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.group import Group
from benchmarks.measuring import flops
from benchmarks.measuring.case import Case, Options
from benchmarks.measuring.implementation import Prepared
from benchmarks.measuring.oracle import TOLERANCE, Wrong, tolerance
from benchmarks.measuring.timing import seconds_of
from benchmarks.measuring.workloads import Language
from benchmarks.reporting.pictures import Pictures
from benchmarks.reporting.sections import sizes
from benchmarks.reporting.summary import NotedRow
from benchmarks.reporting.tables import UNSURE, Line, table
from benchmarks.rows import Row, by, measured, number, relative_spread, unsteady
from rnn_jax.recipes.reference_step import PUBLISHED_MS, TURNS, Stepper, Workload, steppers
from rnn_jax.recipes.step_time import NUMPY, OURS
from rnn_jax.reference import NumpyRNN

__all__ = ["GROUP", "check", "reference_case"]

_PAGE_COLUMNS = (
    "implementation", "dtype", "median_ms", "q25_ms", "q75_ms", "compile_s",
    "times_faster_than_loop", "of_floor",
)  # fmt: skip
_IMPLEMENTATIONS = (*TURNS, "floor")


def _cases(options: Options) -> list[Case]:
    """The one step; NumPy's double loop as published is in float64, all else in float32."""
    small = Workload(500, 20, 12, sentences=20)
    return [reference_case(small if options.quick else Workload(), options.precision)]


def reference_case(workload: Workload, precision: str = "highest") -> Case:
    """All implementations of `steppers` and the floor; ours is many steps in one call."""
    facts = {"B": 1, "T": workload.length, "H": workload.hidden_size, "V": workload.vocab_size}
    name = f"reference-step-{workload.length}x{workload.hidden_size}x{workload.vocab_size}"
    language = Language("", "rnn", workload.vocab_size, workload.hidden_size, 1, workload.length)
    return Case(
        GROUP.name,
        "step",
        {
            "workload": name, "cell": "rnn", "layers": 1, **facts, "dtype": "float32",
            "precision": precision, "truncation": f"sliding:{workload.window}",
        },
        _IMPLEMENTATIONS,
        lambda: _open(workload, tolerance("float32", precision).relative),
        of="an SGD step on one sentence",
        # The cost of full backpropagation; windows of 4 add about two hundredths.
        cost=flops.language_step(language),
        rank=0,
        ours=OURS,
        published={"published NumPy loop": PUBLISHED_MS} if workload == Workload() else {},
        per_second=("tokens", workload.length),
        derive=_derive,
        own={"numpy-loop": {"dtype": "float64"}},
    )  # fmt: skip


def _open(workload: Workload, allowed: float) -> Callable[[str], Prepared]:
    everything = {**steppers(workload), "floor": _floor(workload)}

    def prepare(name: str) -> Prepared:
        stepper = everything[name]
        seconds: list[float] = []

        def first() -> None:
            seconds.append(seconds_of(stepper.call))

        if name == "floor":
            first()
        else:
            check(workload, {name: Stepper(first, stepper.steps, stepper.weights)}, allowed)
        turn = stepper.repeated(TURNS.get(name, 1))
        compile_s = None if name.startswith("numpy") else seconds[0]
        return Prepared(turn.call, dict, compile_s, steps=turn.steps, equations="rnn tanh")

    return prepare


def _derive(rows: list[Row]) -> None:
    median = {row["implementation"]: row["median_ms"] for row in rows}
    loop, floor = median.get("numpy-loop"), median.get("floor")
    for row in rows:
        own = row["median_ms"]
        row["times_faster_than_loop"] = loop / own if own and loop else None
        row["of_floor"] = own / floor if own and floor else None


def check(
    workload: Workload,
    implementations: dict[str, Stepper] | None = None,
    allowed: float = TOLERANCE,
) -> None:
    """Raise `Wrong` unless every implementation ends at the float64 double loop's weights.

    Each takes one call. Float32 weights are rounded to 6e-8 of their size at every step, and
    logits are sums of H rounded products: 1e-5 of the largest weight is some hundred roundings,
    and a thousandth of what one wrong step changes.
    """
    implementations = steppers(workload) if implementations is None else implementations
    oracle = NumpyRNN(*(w.copy() for w in workload.weights))
    wanted: dict[int, tuple[np.ndarray, ...]] = {}
    counts = sorted({stepper.steps for stepper in implementations.values()})
    for index in range(counts[-1] if counts else 0):
        sentence = workload.tokens[index % workload.sentences]
        oracle.sgd_step(sentence[:-1], sentence[1:], workload.learning_rate, workload.window)
        if index + 1 in counts:
            wanted[index + 1] = tuple(w.copy() for w in (oracle.U, oracle.V, oracle.W))
    for name, stepper in implementations.items():
        stepper.call()
        for matrix, got, want in zip("UVW", stepper.weights(), wanted[stepper.steps], strict=True):
            error = np.abs(got - want).max() / np.abs(want).max()
            if not error <= allowed:
                raise Wrong(
                    f"{name} is wrong and will not be timed: its {matrix} is off by {error:.1e} "
                    f"of the largest weight after {stepper.steps} steps"
                )


def _floor(workload: Workload) -> Stepper:
    """The parts that no implementation avoids, one blocking call each: a sum of four times.

    The logits, their gradient back to the states, the read-out's gradient with the update fused,
    and the log-softmax.
    """
    keys = jax.random.split(jax.random.key(workload.seed), 3)
    states = jax.random.normal(keys[0], (workload.length, workload.hidden_size))
    logits = jax.random.normal(keys[1], (workload.length, workload.vocab_size))
    read_out = jax.random.normal(keys[2], (workload.hidden_size, workload.vocab_size))
    rate = workload.learning_rate
    parts: list[tuple[Callable[..., Any], tuple[Any, ...]]] = [
        (jax.jit(lambda h, w: h @ w), (states, read_out)),
        (jax.jit(lambda d, w: d @ w.T), (logits, read_out)),
        (jax.jit(jax.nn.log_softmax), (logits,)),
    ]
    update = jax.jit(lambda w, h, d: w - rate * (h.T @ d), donate_argnums=0)
    weight = jnp.array(read_out, copy=True)
    repeats = 40

    def call() -> None:
        nonlocal weight
        for _ in range(repeats):
            for part, arguments in parts:
                part(*arguments).block_until_ready()
            weight = update(weight, states, logits).block_until_ready()

    return Stepper(call, repeats, lambda: (None, None, None))


# How to read the column `of_floor`.
_OF_FLOOR = (
    "`floor` is the sum of what no implementation avoids, three products and the log-softmax, "
    "each a call of its own; inside one call they are cheaper, so that `of_floor` may be below "
    "1. Of the others `jax-scan` alone takes many steps in a call."
)
# What a headline says of its signs, where it has them.
_SIGNS = {
    "±": "± is one standard deviation of single calls, by their quartiles.",
    "(± ": "That of a ratio is of both times together.",
    "[": "[…] is the 95 % interval of a ratio.",
}


def _headline(rows: list[NotedRow]) -> tuple[list[Line], str]:
    """No line of the table, but a sentence: three baselines, each with its dtype and its spread."""
    sentences = []
    for (workload,), same in by(measured(rows), "workload").items():
        step = {row["implementation"]: row for row in same}
        ours = step.get(OURS)
        if ours is None or "numpy-loop" not in step:
            continue
        shape = sizes(ours, "V", "H", "T")
        said = [
            f"{_times(step[name], ours)} as fast as {what} in {step[name]['dtype']} "
            f"({_spread(step[name])})"
            for name, (what, _) in NUMPY.items()
            if name in step
        ]
        published = [row.get("published_ms") for row in rows if row["workload"] == workload]
        known = [milliseconds for milliseconds in published if milliseconds]
        note = f" The tutorial gives about {known[-1]:g} ms for its loop." if known else ""
        single, vectorised = step.get("jax-call"), step.get("numpy-vectorised")
        alone = f" One step a call, as NumPy has it, it takes {_spread(single)}" if single else ""
        if single and vectorised:
            alone += f", and vectorised NumPy {_quotient(vectorised, single)} as long"
        alone = alone and f"{alone}."
        sentences.append(
            f"The reference step{shape and f' ({shape})'}, many steps a call: rnn_jax in "
            f"{ours['dtype']} ({_spread(ours)}) is {', '.join(said)}.{alone}{note}"
        )
    text = "\n\n".join(sentences)
    signs = [said for sign, said in _SIGNS.items() if sign in text]
    return [], " ".join([text, *signs])


def _times(row: NotedRow, ours: NotedRow) -> str:
    """How often ours goes into a peer's time: with its 95 % interval, or by the quartiles."""
    any_row = cast(Any, row)
    return _quotient(row, ours, (any_row.get("ratio_low"), any_row.get("ratio_high")))


def _quotient(
    row: NotedRow, other: NotedRow, ends: tuple[float | None, float | None] = (None, None)
) -> str:
    """One time by another, with the ends of its interval or the spread that quartiles give it."""
    ratio, (low, high) = number(row, "median_ms") / number(other, "median_ms"), ends
    digits = 1 if ratio >= 10 else 2
    if low is not None and high is not None:
        return f"{ratio:.{digits}f} times [{low:.{digits}f}, {high:.{digits}f}]"
    spread = ratio * math.hypot(relative_spread(row), relative_spread(other))
    return f"{ratio:.{digits}f} times (± {spread:.2g})"


def _spread(row: NotedRow) -> str:
    median, sign = number(row, "median_ms"), f" {UNSURE}" if unsteady(row) else ""
    return f"{median:.3g} ± {median * relative_spread(row):.2g} ms{sign}"


def _section(group: Group, rows: list[NotedRow], pictures: Pictures) -> list[str]:
    parts: list[str] = []
    published = [row for row in rows if row.get("published_ms")]
    for (workload,), same in by(measured(rows), "workload").items():
        shape = sizes(same[-1], "V", "H", "T")
        about = f"{group.caption}{shape and f': {shape}'}"
        if same[-1].get("truncation"):
            about += f", truncation `{same[-1]['truncation']}`"
        times = [row["published_ms"] for row in published if row["workload"] == workload]
        about += f". The tutorial gives {times[-1]:g} ms for its double loop." if times else "."
        parts += [about, table(same, _PAGE_COLUMNS)]
        if any(row["implementation"] == "floor" for row in same):
            parts.append(_OF_FLOOR)
    return parts and ["## The reference step", *parts]


GROUP = Group(
    "reference",
    _cases,
    (*_PAGE_COLUMNS, "reason"),
    "One SGD step on a sentence of the reference word model",
    _section,
    headline=_headline,
    # Its ratios are to the step in one call of many, and NumPy's loop chooses its own dtype.
    summarised=False,
    follows_dtype=False,
    above_roofline=True,
)
