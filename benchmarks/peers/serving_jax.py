"""rnn_jax token after token: in one compiled call, a call a token, and an exported program."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import rnn_jax
from benchmarks.measuring.implementation import Prepared, wait
from benchmarks.measuring.timing import Laps, seconds_of
from benchmarks.measuring.workloads import Arrays, Language
from benchmarks.peers.language_ours import model_of, params_of
from rnn_jax.export import to_stablehlo

__all__ = ["layer_and_inputs", "prepare", "prepare_layer"]

# One token of each row and the carry's leaves, to the logits and the new leaves.
Step = Callable[..., Any]


def prepare(name: str, workload: Language, arrays: Arrays, prefix: np.ndarray) -> Prepared:
    """``length`` tokens after a prefix ``[1, B]``, each the likeliest."""
    model, params = model_of(workload), params_of(workload, arrays)
    first = jnp.asarray(prefix)
    if name == "rnn_jax":
        key = jax.random.key(workload.seed)  # which greedy tokens do not depend on

        def generate() -> Any:
            return rnn_jax.generate(
                model, params, None, first, length=workload.length, key=key, temperature=0.0
            )[1]

        return _prepared(workload, generate)
    carry, laps = jax.tree.leaves(model.initial_carry((workload.batch,), params)), Laps()
    logits = _exported(model, params, workload) if name == "stablehlo" else _own(model, params)

    @jax.jit
    def step(token: Any, *carry: Any) -> Any:
        scores, *carry = logits(token, *carry)
        return scores.argmax(-1), *carry

    def call_by_call() -> Any:
        token, state, tokens = first, carry, []
        laps.start()
        for _ in range(workload.length):
            token, *state = step(token, *state)
            tokens.append(np.asarray(token))  # handed over before the next one is begun
            laps.lap()
        return np.concatenate(tokens)

    return replace(_prepared(workload, call_by_call), laps=lambda: laps.seconds)


def prepare_layer(name: str, workload: Language, arrays: Arrays) -> Prepared:
    """One step of the recurrent layer a call, ``length`` calls with the same input."""
    layer, params, xs = layer_and_inputs(workload, arrays)
    # Its parameters are constants of the program, as those of a whole token's are.
    step = jax.jit(lambda carry, xs: layer.apply(params, carry, xs))
    inputs, start = jnp.asarray(xs), layer.initial_carry((workload.batch,), params)
    laps = Laps()

    def steps() -> Any:
        carry = start
        laps.start()
        for _ in range(workload.length):
            carry, ys = wait(step(carry, inputs))
            laps.lap()
        return ys

    compile_s = seconds_of(steps)
    return Prepared(
        steps,
        lambda: {"ys": np.asarray(steps())},
        compile_s,
        steps=workload.length,
        laps=lambda: laps.seconds,
    )


def layer_and_inputs(workload: Language, arrays: Arrays) -> tuple[Any, Any, np.ndarray]:
    """The recurrent layer of a model of one-hot inputs, its parameters, and one step of inputs."""
    layer, params = model_of(workload).layer, params_of(workload, arrays)["layer"]
    rng = np.random.default_rng(workload.seed)
    xs = rng.standard_normal((1, workload.batch, workload.vocab)).astype(np.float32)
    return layer, params, xs


def _own(model: Any, params: Any) -> Step:
    tree = jax.tree.structure(model.initial_carry((), params))

    def logits(token: Any, *carry: Any) -> Any:
        after, scores = model.apply(params, jax.tree.unflatten(tree, carry), token)
        return scores, *jax.tree.leaves(after)

    return logits


def _exported(model: Any, params: Any, workload: Language) -> Step:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.stablehlo"
        platforms: Any = (jax.default_backend(),)
        to_stablehlo(model, params, file, steps=1, batch_size=workload.batch, platforms=platforms)
        program: Any = jax.export.deserialize(bytearray(file.read_bytes()))
    return lambda token, *carry: program.call(token.astype(jnp.int32), *carry)


def _prepared(workload: Language, tokens: Callable[[], Any]) -> Prepared:
    def call() -> Any:
        return wait(tokens())

    return Prepared(
        call,
        lambda: {"tokens": np.asarray(tokens())},
        seconds_of(call),
        steps=workload.length,
        equations=workload.equations,
    )
