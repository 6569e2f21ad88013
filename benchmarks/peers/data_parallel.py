"""A training step whose rows are spread over devices: ours, and a plain scan, differentiated.

All take the same step. Ours sums its gradient once, behind the backward pass. In that of a plain
scan each step of the loop adds to the gradient of the recurrent matrix, which is the same on all
devices, so that each step sums it over them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import rnn_jax
from benchmarks.measuring.workloads import Arrays, Language
from benchmarks.peers import OURS
from benchmarks.peers.language_ours import model_of, optimizer_of, params_of, to_workload

__all__ = ["ALONE", "NAMES", "PLAIN", "PLAIN_JIT", "Spread", "data_parallel", "spread"]

ALONE = "no-mesh"  # our step without a mesh: what one device costs without all this
PLAIN = "plain-scan"  # under `jax.shard_map`
PLAIN_JIT = "plain-scan-jit"  # under `jax.jit`, which spreads the work as its arguments are spread
NAMES = (OURS, ALONE, PLAIN, PLAIN_JIT)

_AXIS = "data"
_SPEC: Any = PartitionSpec  # it has no annotations
_EVERYWHERE, _ROWS = _SPEC(), _SPEC(None, _AXIS)


class Spread(NamedTuple):
    """A step ready to be compiled: ``step(state, batch) -> (state, metrics)``.

    named: the parameters of a state, or differences between them, in the workload's names.
    """

    step: Any
    state: Any
    batch: rnn_jax.Batch
    named: Callable[[Any], dict[str, Any]]


def data_parallel(step: Any, state: Any, batch: rnn_jax.Batch, count: int) -> tuple[Any, Any, Any]:
    """The jitted step, the state on all of ``count`` devices and the batch's rows spread over them.

    The step is the one for a single device: the compiler adds the sum over devices.
    """
    mesh = _mesh(count)
    everywhere, rows = NamedSharding(mesh, _EVERYWHERE), NamedSharding(mesh, _ROWS)
    jitted = jax.jit(step, donate_argnums=0, out_shardings=everywhere)
    return jitted, jax.device_put(state, everywhere), jax.device_put(batch, rows)


def spread(name: str, workload: Language, arrays: Arrays, count: int) -> Spread:
    """The step of an implementation on ``count`` devices, its state and its first batch."""
    tokens = workload.tokens(1)[0]
    batch = rnn_jax.Batch(jnp.asarray(tokens[:-1]), jnp.asarray(tokens[1:]))
    optimizer = optimizer_of(workload)
    if name in (OURS, ALONE):
        model = model_of(workload)
        state: Any = rnn_jax.init_train_state(model, optimizer, params_of(workload, arrays))
        axis = _AXIS if name == OURS else None
        step: Any = rnn_jax.make_train_step(model, optimizer, axis_name=axis)

        def named(params: Any) -> dict[str, Any]:
            return to_workload(workload, params)

    else:
        # Copies, for a training state is given away.
        params = jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), arrays)
        state = rnn_jax.TrainState(params, optimizer.init(params), None, jnp.zeros((), jnp.int32))
        step = plain_step(optimizer, _AXIS if name == PLAIN else None)

        def named(params: Any) -> dict[str, Any]:
            return dict(params)

    if name == ALONE:
        return Spread(jax.jit(step, donate_argnums=0), state, batch, named)
    jitted, state, batch = data_parallel(step, state, batch, count)
    if name != PLAIN_JIT:
        mapped = jax.shard_map(
            lambda state, batch: step(state, batch),
            mesh=_mesh(count),
            in_specs=(_EVERYWHERE, _ROWS),
            out_specs=_EVERYWHERE,
        )
        jitted = jax.jit(mapped, donate_argnums=0)
    return Spread(jitted, state, batch, named)


def plain_step(optimizer: optax.GradientTransformation, axis: str | None) -> Any:
    """``(state, batch) -> (state, metrics)`` of one LSTM between an embedding and a read-out.

    Its parameters are those of `Language.arrays`. The input product of all steps is one product, as
    in every good implementation.

    Args:
      optimizer: any optax optimiser.
      axis: of the devices, inside ``jax.shard_map``; None where the compiler spreads the work.
    """

    def loss(params: Any, batch: rnn_jax.Batch) -> jax.Array:
        xs = params["embedding"][batch.inputs]
        zs = xs @ params["w_ih.0"] + params["b.0"][None, None]

        def step(carry: Any, z: jax.Array) -> Any:
            h, c = carry
            i, f, g, o = jnp.split(z + h @ params["w_hh.0"], 4, axis=-1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        zero = zs[0, :, : zs.shape[-1] // 4] * 0
        _, ys = lax.scan(step, (zero, zero), zs)
        logits = ys @ params["w_out"] + params["b_out"][None, None]
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch.targets)
        mean = jnp.mean(losses)
        if axis is not None:
            mean = lax.pmean(mean, axis)  # type: ignore[no-untyped-call]
        return mean

    def step(state: Any, batch: rnn_jax.Batch) -> Any:
        value, grads = jax.value_and_grad(loss)(state.params, batch)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return rnn_jax.TrainState(params, opt_state, None, state.step + 1), {"loss": value}

    return step


def _mesh(count: int) -> Mesh:
    return Mesh(np.array(jax.devices()[:count]), (_AXIS,))
