"""A network that runs on by itself: each output is its next input."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from rnn_jax.arrays.masking import at_last_valid, check_mask
from rnn_jax.arrays.tokens import is_ids
from rnn_jax.host.checks import positive
from rnn_jax.jaxprs import in_auto_mode, is_traced, scan, vary_over, varying_axes
from rnn_jax.layers.base import check_layer, initial_or
from rnn_jax.recurrence.layouts import batch_shape_of, layouts_of
from rnn_jax.types import Array, Carry, Layer, Model, Params

__all__ = ["run_freely"]


def run_freely(
    model: Model | Layer,
    params: Params,
    carry: Carry,
    warmup: Array,
    *,
    length: int,
    mask: Array | None = None,
) -> tuple[Carry, Array]:
    """Let a network that predicts its next input run on by itself for ``length`` steps.

    The warm-up is teacher forcing: the network reads what is given, whatever it puts out. From
    there on its output is its next input,

    ``c_t, x_{t+1} = model(c_{t-1}, x_t)`` for ``t = W … W+L-1``,

    where ``x_1 … x_W`` is the warm-up. ``x_{W+1} … x_{W+L}`` come back; what the network puts out
    during the warm-up is ``model.apply(params, carry, warmup)``. Compiled as a whole, and
    differentiable.

    Args:
      model: a causal `Model` or `Layer` whose outputs have the size of its inputs, such as
        ``serial(recurrent(echo_state(400)), linear(1))`` with the read-out of `ridge`.
      params: its parameters.
      carry: the carry before the warm-up, or None.
      warmup: ``float[W, B, D]``, at least one step.
      length: ``L``, at least 1.
      mask: ``bool[W, B]``, for warm-ups of unequal length: a row continues from its last valid
        step.

    Returns:
      The carry and ``float[L, B, D]``. The last output has not been read yet: to go on, pass the
      carry, and ``outputs[-1:]`` as the warm-up.

    Raises:
      ValueError: the warm-up is empty, a row of it is all masked, or it holds integers; the length
        is not positive; the model is not causal, or its outputs are of another size.

    Example:
      >>> import jax, jax.numpy as jnp, rnn_jax
      >>> layer = rnn_jax.serial(rnn_jax.recurrent(rnn_jax.echo_state(100)), rnn_jax.linear(1))
      >>> params = layer.init(jax.random.key(0), 1)
      >>> wave = jnp.sin(0.3 * jnp.arange(401.0))[:, None]  # [T, D]
      >>> _, states = layer.layers[0].apply(params["0"], None, wave[:-1])
      >>> params["1"] = rnn_jax.ridge(states, wave[1:], penalty=1e-6, washout=50)
      >>> _, ys = run_freely(layer, params, None, wave[:301], length=50)
      >>> bool(jnp.abs(ys - wave[301:351]).max() < 0.02)
      True

    Reference:
      Jaeger and Haas, Harnessing nonlinearity: predicting chaotic systems and saving energy in
      wireless communication, Science 304 (2004); teacher forcing: Williams and Zipser, A learning
      algorithm for continually running fully recurrent neural networks, Neural Computation 1
      (1989).
    """
    positive(length=length)
    _check(model, warmup, mask)
    run = partial(_run, model, length)
    carries, (_, *rows) = layouts_of(carry, warmup, every=False)
    result: tuple[Carry, Array] = in_auto_mode(
        run, (params, carry, warmup, mask), (carries, (None, *rows))
    )
    return result


def _check(model: Model | Layer, warmup: Array, mask: Array | None) -> None:
    check_layer("run_freely", model, or_model=True)
    batch_shape = batch_shape_of(warmup)  # refuses what is no array
    if is_ids(warmup):
        raise ValueError(
            f"run_freely() reads its own outputs, and those are no integers like the warm-up "
            f"({warmup.dtype}): pass warmup.astype(float), or continue token ids with generate()"
        )
    shape = (*warmup.shape[:1], *batch_shape)
    if not warmup.shape[0]:
        raise ValueError("the warm-up is empty: give each row at least one step to start from")
    check_mask(mask, shape)
    if mask is not None and not is_traced(mask) and not np.asarray(mask).any(axis=0).all():
        raise ValueError(
            "a row of the warm-up is all masked: leave at least one valid step in each row"
        )
    if not model.causal:
        raise ValueError(f"{model!r} is not causal: only a model that runs forwards can go on")
    if model.output_size not in (None, warmup.shape[-1]):
        raise ValueError(
            f"outputs of size {model.output_size} cannot be the next inputs of size "
            f"{warmup.shape[-1]}: give the model a read-out of that size"
        )


@partial(jax.jit, static_argnums=(0, 1))
def _run(
    model: Model | Layer,
    length: int,
    params: Params,
    carry: Carry,
    warmup: Array,
    mask: Array | None,
) -> tuple[Carry, Array]:
    def body(loop: tuple[Carry, Array], _: None) -> tuple[tuple[Carry, Array], Array]:
        carry, x = loop
        carry, ys = model.apply(params, carry, x[None])
        loop = vary_over(axes, (carry, ys[-1]))
        return loop, loop[1]

    axes = varying_axes(params, carry, warmup, mask)
    carry = initial_or(model, params, carry, warmup)
    carry, ys = model.apply(params, carry, warmup, mask=mask)
    first = at_last_valid(ys, mask)
    (carry, _), others = scan(body, vary_over(axes, (carry, first)), None, length - 1)
    return carry, jnp.concatenate([first[None], others])
