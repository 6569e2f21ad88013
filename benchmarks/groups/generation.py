"""Generation: tokens a second and the latency of one, at batch sizes from 1 to 512."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import rnn_jax
from benchmarks.group import COLUMNS, Group
from benchmarks.measuring.case import Case, Options
from benchmarks.measuring.implementation import Prepared, wait
from benchmarks.measuring.language import expected_logits
from benchmarks.measuring.oracle import Wrong, in_float64, tolerance
from benchmarks.measuring.timing import seconds_of
from benchmarks.measuring.workloads import Arrays, Language
from benchmarks.peers import OURS
from benchmarks.peers.language_ours import model_of, params_of
from benchmarks.reporting.sections import LATENCY_COLUMNS, PLAIN_COLUMNS, plain

__all__ = ["GROUP", "check_greedy"]

# By whether the run is a quick one.
_MODELS: dict[bool, tuple[Language, ...]] = {
    False: (
        Language("characters", "gru", 28, 256, 1, 128),
        Language("ptb-medium", "lstm", 10_000, 650, 1, 64, 650, 2),
    ),
    True: (Language("characters", "gru", 28, 32, 1, 16),),
}
_TEMPERATURE = 1.0
_BATCHES = {False: (1, 8, 64, 512), True: (1, 16)}


def _cases(options: Options) -> list[Case]:
    """Every model at every batch size, sampling from the whole distribution."""
    return [
        Case(
            GROUP.name,
            "generate",
            workload.facts() | {"temperature": _TEMPERATURE},
            (OURS, "torch"),
            lambda workload=workload: _open(workload),  # type: ignore[misc]
            of=f"a token of each row, drawn at temperature {_TEMPERATURE:g}",
            rank=0 if batch == 1 else 1,
            per_second=("tokens", batch),
            latency=True,
        )
        for model in _MODELS[options.quick]
        for batch in _BATCHES[options.quick]
        for workload in [
            replace(model, batch=batch, dtype=options.dtype, precision=options.precision)
        ]
    ]


def _open(workload: Language) -> Callable[[str], Prepared]:
    arrays = workload.arrays()
    prefix = workload.tokens(1)[0, :1]

    def prepare(name: str) -> Prepared:
        if name == OURS:
            prepared = _ours(workload, arrays, prefix)
        else:
            from benchmarks.peers import language_pytorch

            prepared = language_pytorch.prepare_generation(workload, arrays, prefix)
        check_greedy(workload, arrays, prefix, prepared.result()["tokens"])
        return prepared

    return prepare


def _ours(workload: Language, arrays: Arrays, prefix: np.ndarray) -> Prepared:
    model, params = model_of(workload), params_of(workload, arrays)
    first = jnp.asarray(prefix)
    keys = iter(jax.random.split(jax.random.key(workload.seed), 10_000))

    def start(temperature: float = _TEMPERATURE) -> Any:
        return rnn_jax.generate(
            model, params, None, first, length=workload.length, key=next(keys),
            temperature=temperature,
        )[1]  # fmt: skip

    def call() -> Any:
        return wait(start())

    compile_s = seconds_of(call)
    return Prepared(
        call,
        lambda: {"tokens": np.asarray(start(0.0))},
        compile_s,
        start=start,
        steps=workload.length,
        equations=workload.equations,
    )


def check_greedy(
    workload: Language, arrays: Arrays, prefix: np.ndarray, tokens: np.ndarray
) -> None:
    """Raise `Wrong` unless every token is the oracle's best, or as good within rounding.

    The oracle reads the tokens that were generated, so that one near tie does not move the rest.
    """
    if tokens.shape != (workload.length, workload.batch):
        raise Wrong(f"wrong: its tokens have shape {tokens.shape}")
    rows = slice(0, 8)  # as telling as all of them, and the logits stay small
    with in_float64():
        double = {name: jnp.asarray(array.astype(np.float64)) for name, array in arrays.items()}
        read = np.concatenate([prefix, tokens[:-1]])[:, rows]
        logits = np.asarray(expected_logits(workload, double, jnp.asarray(read)))
    taken = np.take_along_axis(logits, tokens[:, rows, None].astype(np.int64), axis=-1)[..., 0]
    short = (logits.max(axis=-1) - taken).max()
    allowed = tolerance(workload.dtype, workload.precision).relative * np.abs(logits).max()
    if not short <= allowed:
        raise Wrong(f"wrong: a token is {short:.1e} below the best, more than {allowed:.1e}")


GROUP = Group(
    "generation",
    _cases,
    (*COLUMNS, *LATENCY_COLUMNS[1:]),
    f"Generation: tokens drawn at temperature {_TEMPERATURE:g} and fed back. `rnn_jax` draws all "
    "in one compiled call, PyTorch one a call; of either an answer is timed as a whole.",
    plain((*PLAIN_COLUMNS, *LATENCY_COLUMNS)),
)
