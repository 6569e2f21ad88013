"""``python -m benchmarks step-time``: the reference step in NumPy and in JAX, and its floor."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.output import check_writable, print_table, write_rows
from benchmarks.timing import environment, first_call, quartiles
from rnn_jax.reference import NumpyRNN
from rnn_jax.reference_step import Stepper, Workload, interleaved, steppers

__all__ = ["add_arguments", "check", "measure", "run"]

_DTYPES = {"numpy-loop": "float64"}
_COMPILED = ("jax-call", "jax-scan", "floor")
_CALLS = {"numpy-loop": 1, "numpy-loop-float32": 2, "numpy-vectorised": 20, "jax-call": 40}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument("--json", metavar="FILE", help="write the rows to a new file")
    parser.add_argument("--quick", action="store_true", help="a try-out: few rounds, small sizes")
    parser.add_argument("--seed", type=int, default=0, help="of weights and sentences")


def run(options: argparse.Namespace) -> None:
    """Measure, print the table, write the rows."""
    check_writable(options.json)
    if options.seed < 0:
        raise ValueError(f"--seed must be at least 0, not {options.seed}")
    if options.quick:
        work = Workload(500, 20, 12, sentences=20, seed=options.seed)
        rows = measure(work, rounds=3)
    else:
        rows = measure(Workload(seed=options.seed), rounds=25)
    columns = ("implementation", "dtype", "median_ms", "q25_ms", "q75_ms", "compile_s")
    print_table(rows, (*columns, "times_faster_than_loop", "of_floor"))
    write_rows(rows, options.json)


def measure(workload: Workload, *, rounds: int) -> list[dict[str, Any]]:
    """Rows of all implementations, each checked before it is timed.

    Every round gives each implementation its turn; in a turn of NumPy's or of one call a step
    several steps are taken, so that all turns are long beside the clock.
    """
    check(workload)
    everything = {**steppers(workload), "floor": _floor(workload)}
    compile_s = {name: first_call(stepper.call) for name, stepper in everything.items()}
    turns = {name: _repeat(stepper, _CALLS.get(name, 1)) for name, stepper in everything.items()}
    for turn in turns.values():
        turn.call()
    seconds = interleaved({name: turn.call for name, turn in turns.items()}, rounds)
    shared = environment() | {
        "workload": "reference-step",
        "V": workload.vocab_size,
        "H": workload.hidden_size,
        "T": workload.length,
        "B": 1,
        "truncation": f"sliding:{workload.window}",
        "rounds": rounds,
    }
    rows: list[dict[str, Any]] = [
        {
            "implementation": name,
            "dtype": _DTYPES.get(name, "float32"),
            **quartiles(seconds[name], turn.steps),
            "compile_s": compile_s[name] if name in _COMPILED else None,
            "steps_per_round": turn.steps,
        }
        for name, turn in turns.items()
    ]
    loop, floor = (
        next(row["median_ms"] for row in rows if row["implementation"] == name)
        for name in ("numpy-loop", "floor")
    )
    return [
        row
        | {
            "times_faster_than_loop": loop / row["median_ms"],
            "of_floor": row["median_ms"] / floor,
        }
        | shared
        for row in rows
    ]


def check(workload: Workload, implementations: dict[str, Stepper] | None = None) -> None:
    """Raise ValueError unless every implementation ends at the float64 double loop's weights.

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
            if not error <= 1e-5:
                raise ValueError(
                    f"{name} is wrong and will not be timed: its {matrix} is off by {error:.1e} "
                    f"of the largest weight after {stepper.steps} steps"
                )


def _repeat(stepper: Stepper, calls: int) -> Stepper:
    def call() -> None:
        for _ in range(calls):
            stepper.call()

    return Stepper(call, stepper.steps * calls, stepper.weights)


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
