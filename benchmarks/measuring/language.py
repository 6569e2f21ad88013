"""Cases of a language model: whole training steps, and their oracle in float64."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

import rnn_jax
from benchmarks.measuring import flops
from benchmarks.measuring.case import Case, Options
from benchmarks.measuring.implementation import STEPS, Prepared, Program, compile_jax, wait
from benchmarks.measuring.oracle import EQUATIONS, HALF, Wrong, check, in_float64, tolerance
from benchmarks.measuring.timing import seconds_of
from benchmarks.measuring.updates import DECAY, first_update, rounding_of
from benchmarks.measuring.workloads import Arrays, Language
from benchmarks.peers import OURS
from benchmarks.peers.language_ours import (
    optimizer_of,
    to_workload,
    train_step,
    updates_of,
    with_logits,
)

__all__ = [
    "LOGITS", "OF", "OPTAX", "TORCH_CHUNKED",
    "case", "check_step", "expected_logits", "expected_step", "prepare_ours",
]  # fmt: skip

# Beside ours and PyTorch: our step by a loss that has all logits, the plain equations with optax's
# loss and optimiser, and PyTorch's own loss without logits.
LOGITS, OPTAX, TORCH_CHUNKED = "rnn_jax-logits", "jax-optax", "torch-chunked"
_TORCHES = ("torch", TORCH_CHUNKED)
_NORM_ERROR = 1e-3
# What the times of each pass are of.
OF = {
    "step": "a training step, each a call of its own",
    "many-steps": f"a training step, which in JAX is one of {STEPS} inside one compiled call",
}


def case(
    group: str,
    workload: Language,
    pass_name: str,
    options: Options,
    *,
    rank: int,
    names: Sequence[str] = (OURS, "torch"),
) -> Case:
    """A training step, or many in one call, in the dtype and precision of the options."""
    workload = replace(workload, dtype=options.dtype, precision=options.precision)
    return Case(
        group,
        pass_name,
        workload.facts(),
        tuple(names),
        lambda: _open(workload, pass_name),
        of=OF[pass_name],
        cost=flops.language_step(workload) if workload.truncation == "full" else None,
        rank=rank,
        per_second=("tokens", workload.length * workload.batch),
    )


def _open(workload: Language, pass_name: str) -> Callable[[str], Prepared]:
    arrays, tokens = workload.arrays(), workload.tokens(STEPS)
    wanted: list[Arrays] = []
    # What says more about the same step than the oracle can say of this one.
    twins = [replace(workload, dtype="float32")] if workload.dtype in HALF else []
    twins += [replace(workload, noise=None)] if workload.noise is not None else []
    first = [_open(twin, pass_name) for twin in twins]

    def prepare(name: str) -> Prepared:
        for prepare_twin in first:
            prepare_twin(name)
        if name in (OURS, LOGITS, OPTAX):
            prepared = prepare_ours(workload, arrays, tokens, pass_name, name)
        else:
            from benchmarks.peers import language_pytorch

            prepared = language_pytorch.prepare_training(
                workload, arrays, tokens, pass_name, chunked=name == TORCH_CHUNKED
            )
        got = prepared.result()
        if not wanted:
            wanted.append(expected_step(workload, arrays, tokens[0]))
        check_step(workload, got, wanted[0], by=name)
        return prepared

    return prepare


def _clipped_exactly(workload: Language, got: Arrays, want: Arrays) -> Arrays:
    """The updates of a step of PyTorch's as they are without the error of its norm.

    On a CPU PyTorch adds up the squares of a tensor one after another, and its norm of 4 million
    entries is 7e-5 too small. Where gradients are clipped, that makes all updates larger by one
    factor (of Adam: its means alone). It is divided out where it is below 1 + `_NORM_ERROR`; all
    else has to be right as ever.
    """
    means = [name for name in want if name.startswith("mean.")]
    scaled = means or [name for name in want if name != "loss"]
    squares = sum(float(np.vdot(want[name], want[name])) for name in scaled)
    norm = squares**0.5 / ((1 - DECAY) if means else workload.learning_rate)
    if workload.clip is None or not math.isclose(norm, workload.clip, rel_tol=1e-3):
        return got
    largest = max(scaled, key=lambda name: float(np.abs(want[name]).max(initial=0.0)))
    right = want[largest]
    size = float(np.vdot(right, right))
    factor = float(np.vdot(got[largest].astype(np.float64), right)) / size if size else 1.0
    if not 1 <= factor < 1 + _NORM_ERROR:
        return got
    return {**got, **{name: got[name] / factor for name in scaled}}


def check_step(workload: Language, got: Arrays, want: Arrays, *, by: str = OURS) -> None:
    """Raise `Wrong` unless a step of the implementation ``by`` did what `expected_step` says.

    Of a step with noise it says next to nothing: the loss is another one, but not by much.
    """
    if workload.noise is not None:
        if not 0 < abs(got["loss"] - want["loss"]) < 0.2 * want["loss"]:
            raise Wrong(f"wrong: its loss is {got['loss']}, and {want['loss']} without noise")
        return
    if by in _TORCHES and jax.default_backend() == "cpu":
        got = _clipped_exactly(workload, got, want)
    allowance = tolerance(workload.dtype, workload.precision)
    slack = rounding_of(workload, want, allowance)
    for name, array in want.items():
        # Parameters were rounded at their update, hence the allowance of many steps.
        kind = "step" if name.startswith("mean.") else "many-steps"
        check({name: got[name]}, {name: array}, kind, allowance, slack)


def prepare_ours(
    workload: Language, arrays: Arrays, tokens: np.ndarray, pass_name: str, name: str = OURS
) -> Prepared:
    """A call of one step, or of as many as there are batches of tokens."""
    if name == OPTAX:
        state, step = _plain_step(workload, arrays)
    else:
        loss = with_logits if name == LOGITS else rnn_jax.cross_entropy
        state, step = train_step(workload, arrays, loss=loss)
    before = jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), state)
    drawn = "randomized" in workload.truncation or workload.noise is not None
    key = jax.random.key(workload.seed) if drawn else None
    count = len(tokens)
    if pass_name == "step":
        batch = rnn_jax.Batch(jnp.asarray(tokens[0, :-1]), jnp.asarray(tokens[0, 1:]))

        def one(state: Any, batch: Any, key: Any) -> Any:
            return step(state, batch, key=key)

        program = compile_jax(one, state, batch, key, donate=0)

        def advance(state: Any, steps: int) -> Any:
            return program.run(state, batch, key)

    else:
        data = rnn_jax.Windows(jnp.asarray(tokens[:, :-1]), jnp.asarray(tokens[:, 1:]))
        run = rnn_jax.make_train_steps(step)
        compiled: list[Any] = []
        compile_s = seconds_of(
            lambda: compiled.append(
                jax.jit(run, donate_argnums=0).lower(state, data, 0, count, key).compile()
            )
        )
        program = Program(compiled[0], compile_s)

        def advance(state: Any, steps: int) -> Any:
            return program.run(state, data, 0, steps, key)

    def start() -> Any:
        nonlocal state
        state, metrics = advance(state, count)
        return metrics

    def call() -> Any:
        metrics = start()
        return wait((state, metrics))

    def result() -> Arrays:
        fresh = jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), before)
        after, metrics = advance(fresh, 1)
        loss = metrics["loss"] if pass_name == "step" else metrics[0] / metrics[1]
        named = dict if name == OPTAX else partial(to_workload, workload)
        return {"loss": np.asarray(loss), **updates_of(workload, before, after, named)}

    steps = 1 if pass_name == "step" else count
    return program.prepared(call, result, start, steps=steps, equations=workload.equations)


def _plain_step(workload: Language, arrays: Arrays) -> tuple[Any, Any]:
    """What one writes without a library: a scan of the equations, optax's loss and optimiser."""
    optimizer = optimizer_of(workload)
    # Copies, for a training state is given away.
    params = jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), arrays)

    def loss(params: Any, batch: rnn_jax.Batch) -> jax.Array:
        logits = expected_logits(workload, params, batch.inputs)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch.targets)
        return jnp.mean(losses)

    def step(state: Any, batch: rnn_jax.Batch, *, key: Any = None) -> Any:
        value, grads = jax.value_and_grad(loss)(state.params, batch)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        after = rnn_jax.TrainState(params, opt_state, None, state.step + 1)
        return after, {"loss": value, "tokens": jnp.float32(batch.targets.size)}

    return rnn_jax.TrainState(params, optimizer.init(params), None, jnp.zeros((), jnp.int32)), step


def expected_logits(workload: Language, params: Any, tokens: Any) -> jax.Array:
    """``[T, B, V]`` by the plain equations, of parameters such as `Language.arrays`."""
    xs = params["embedding"][tokens] if "embedding" in params else None
    for index, size in enumerate(workload.sizes):
        layer = {n.split(".")[0]: p for n, p in params.items() if n.endswith(f".{index}")}
        if xs is None:
            # A one-hot vector selects a row; the identity keeps the equations as they are.
            xs, layer["w_ih"] = layer["w_ih"][tokens], jnp.eye(layer["w_ih"].shape[1])
        step = partial(EQUATIONS[workload.equations], layer)
        zeros = jnp.zeros((tokens.shape[1], size))
        start = (zeros, zeros) if workload.cell == "lstm" else zeros
        _, xs = lax.scan(step, start, xs)
    w_out = params["embedding"].T if workload.tied else params["w_out"]
    return xs @ w_out + params["b_out"][None, None]


def expected_step(workload: Language, arrays: Arrays, tokens: np.ndarray) -> Arrays:
    """The loss and what one step does, as `first_update` has it, in float64 and without noise.

    By the plain equations; truncated, by the package's plain scan, and where a truncation is random
    (its draws depend on the dtype) the loss alone.
    """
    with in_float64():
        double = {name: jnp.asarray(array.astype(np.float64)) for name, array in arrays.items()}
        inputs, targets = jnp.asarray(tokens[:-1]), jnp.asarray(tokens[1:])

        def loss(params: Any) -> jax.Array:
            logits = expected_logits(workload, params, inputs)
            picked = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
            return jnp.mean(jax.nn.logsumexp(logits, axis=-1) - picked)

        moved: dict[str, Any] = {}
        if workload.truncation == "full":
            value, gradient = jax.jit(jax.value_and_grad(loss))(double)
            moved = first_update(workload, {name: np.asarray(g) for name, g in gradient.items()})
        else:
            value = jax.jit(loss)(double)
            if not workload.truncation.startswith("randomized"):
                wide = {name: np.asarray(array) for name, array in double.items()}
                state, step = train_step(workload, wide, backend="scan")
                after, _ = jax.jit(step)(state, rnn_jax.Batch(inputs, targets))
                moved = updates_of(workload, state, after)
        return {"loss": np.asarray(value), **{n: np.asarray(a) for n, a in moved.items()}}
