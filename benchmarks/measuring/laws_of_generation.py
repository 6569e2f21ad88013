"""Laws of generation on a device: what is generated, read again by the reference on the host.

Tokens are held to the logits that the reference gives them, so that a near tie, which rounding may
turn, does not count, and moves nothing that comes after it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import rnn_jax
from benchmarks.measuring.case import Case
from benchmarks.measuring.implementation import Prepared
from benchmarks.measuring.laws import held, relative_error, seed_of
from benchmarks.measuring.oracle import host, tolerance
from benchmarks.measuring.timing import seconds_of
from benchmarks.peers import OURS

__all__ = ["GENERATORS", "case"]

_VOCAB, _BATCH, _PREFIX, _LENGTH, _BEAMS = 23, 5, 4, 9, 3
# Draws are held to the distribution that the reference gives to these many tokens.
_DRAWS, _DRAWN_TEMPERATURE = 4096, 0.7


class _Model(NamedTuple):
    """A model, its parameters in the dtype of the run, and a prefix of tokens."""

    model: rnn_jax.Model
    params: Any
    prefix: np.ndarray
    key: Any


def _greedily(given: _Model) -> dict[str, float]:
    model, params, prefix, key = given
    _, tokens = rnn_jax.generate(
        model, params, None, jnp.asarray(prefix), length=_LENGTH, key=key, temperature=0.0
    )
    return {"tokens": _shortfall(given, np.asarray(tokens))}


def _in_blocks(given: _Model) -> dict[str, float]:
    model, params, prefix, key = given
    blocks = rnn_jax.stream(
        model,
        params,
        None,
        jnp.asarray(prefix),
        length=_LENGTH,
        key=key,
        block=4,
        temperature=0.0,
    )
    return {"tokens": _shortfall(given, np.concatenate([np.asarray(b) for b in blocks]))}


def _next_ones(given: _Model) -> dict[str, float]:
    model, params, prefix, _ = given
    # It is called outside jit, where arrays are to be JAX's.
    params = jax.tree.map(jnp.asarray, params)
    _, best = rnn_jax.predict(model, params, None, jnp.asarray(prefix))
    logits = _logits(given, prefix)
    return {"tokens": _below_best(logits, np.asarray(best))}


def _by_beams(given: _Model) -> dict[str, float]:
    """The score of each continuation beside its log-probability."""
    model, params, prefix, _ = given
    found = rnn_jax.beam_search(
        model, params, None, jnp.asarray(prefix), beams=_BEAMS, length=_LENGTH
    )
    tokens, scores = map(np.asarray, found)
    want = np.stack([_log_probability(given, tokens[..., k]) for k in range(_BEAMS)], axis=-1)
    return {"scores": relative_error(scores, want)}


def _by_chance(given: _Model) -> dict[str, float]:
    """How often each token is drawn, in standard errors of its probability, as part of 6 of them.

    Of some dozens of frequencies one lies beyond 6 in less than one of 10⁷ runs.
    """
    model, params, prefix, key = given
    rows = jnp.repeat(jnp.asarray(prefix[:, :1]), _DRAWS, axis=1)
    _, tokens = rnn_jax.generate(
        model, params, None, rows, length=1, key=key, temperature=_DRAWN_TEMPERATURE
    )
    logits = _logits(given, prefix)[-1, 0] / _DRAWN_TEMPERATURE
    right = np.exp(logits - np.logaddexp.reduce(logits))
    found = np.bincount(np.asarray(tokens)[0], minlength=_VOCAB) / _DRAWS
    return {"frequencies": float(np.abs((found - right) / np.sqrt(right / _DRAWS)).max() / 6)}


def _freely(given: _Model) -> dict[str, float]:
    """A network whose outputs are its inputs, beside the same on the host."""
    layer = rnn_jax.serial(rnn_jax.recurrent(rnn_jax.gru(16)), rnn_jax.linear(2))
    rng = np.random.default_rng(int(given.prefix.sum()))
    dtype = jax.tree.leaves(given.params)[0].dtype
    warmup = jnp.asarray(rng.standard_normal((_PREFIX, _BATCH, 2)), dtype)
    with host():
        params = jax.device_get(layer.init(jax.random.key(0), 2))
    params = jax.tree.map(lambda p: p.astype(dtype), params)
    carry, ys = rnn_jax.run_freely(layer, params, None, warmup, length=_LENGTH)
    got = {"carry": carry[0], "ys": ys}
    reference = rnn_jax.serial(
        rnn_jax.recurrent(rnn_jax.gru(16), backend="scan"), rnn_jax.linear(2)
    )
    with host(), jax.enable_x64(True):
        wide, warm = jax.tree.map(
            lambda a: jnp.asarray(np.asarray(a), np.float64), (params, warmup)
        )
        carry, ys = rnn_jax.run_freely(reference, wide, None, warm, length=_LENGTH)
        want = jax.device_get({"carry": carry[0], "ys": ys})
    errors: dict[str, float] = relative_error(jax.device_get(got), want)
    return errors


# By the name of the law: what is generated, and by which function of the package.
GENERATORS: dict[str, Callable[[_Model], dict[str, float]]] = {
    "generate": _greedily,
    "generate-sampled": _by_chance,
    "stream": _in_blocks,
    "beam_search": _by_beams,
    "predict": _next_ones,
    "run_freely": _freely,
}


def case(group: str, name: str, size: int, dtype: str, precision: str, *, rank: int = 1) -> Case:
    """A generator over a model of an embedding and a GRU of ``size`` units."""
    workload = f"{name}-{_BATCH}x{_LENGTH}x{size}x{_VOCAB}"
    facts = {
        "workload": workload, "B": _BATCH, "T": _LENGTH, "H": size, "V": _VOCAB, "cell": "gru",
        "dtype": dtype, "precision": precision,
    }  # fmt: skip

    def prepare(_: str) -> Prepared:
        given = _drawn(size, dtype, seed_of(workload, dtype, precision))
        errors: dict[str, float] = {}
        seconds = seconds_of(lambda: errors.update(GENERATORS[name](given)))
        # Frequencies are in a unit of their own.
        allowed = 1.0 if "frequencies" in errors else tolerance(dtype, precision).relative
        return held(errors, allowed, seconds)

    return Case(
        group,
        "tokens",
        facts,
        (OURS,),
        lambda: prepare,
        of="nothing: a law is not timed",
        rank=rank,
        timed=False,
    )


def _model(size: int, backend: Any) -> rnn_jax.Model:
    layer = rnn_jax.recurrent(rnn_jax.gru(size), backend=backend)
    return rnn_jax.language_model(_VOCAB, layer, embedding_size=8)


def _drawn(size: int, dtype: str, seed: int) -> _Model:
    model, rng = _model(size, "auto"), np.random.default_rng(seed)
    with host():
        params = jax.device_get(model.init(jax.random.key(seed % 2**31)))
    # At the start of training all tokens are equally good; so they are not here.
    params = jax.tree.map(
        lambda p: (p + 0.3 * rng.standard_normal(p.shape)).astype(jnp.dtype(dtype)), params
    )
    prefix = rng.integers(0, _VOCAB, (_PREFIX, _BATCH), np.int32)
    return _Model(model, params, prefix, jax.random.key(seed % 2**31))


def _logits(given: _Model, tokens: np.ndarray) -> np.ndarray:
    """``float64[T, B, V]``, by the plain scan on the host."""
    size = given.model.layer.cell.hidden_size  # type: ignore[attr-defined]
    with host(), jax.enable_x64(True):
        wide = jax.tree.map(lambda p: p.astype(np.float64), given.params)
        apply = jax.jit(partial(_model(size, "scan").apply), static_argnums=1)
        return np.asarray(apply(wide, None, tokens)[1])


def _shortfall(given: _Model, tokens: np.ndarray) -> float:
    """By how much a generated token is worse than the best one, at most."""
    logits = _logits(given, np.concatenate([given.prefix, tokens[:-1]]))
    return _below_best(logits[_PREFIX - 1 :], tokens)


def _below_best(logits: np.ndarray, tokens: np.ndarray) -> float:
    taken = np.take_along_axis(logits, tokens[..., None].astype(np.int64), axis=-1)[..., 0]
    return float((logits.max(axis=-1) - taken).max() / np.abs(logits).max())


def _log_probability(given: _Model, tokens: np.ndarray) -> np.ndarray:
    logits = _logits(given, np.concatenate([given.prefix, tokens[:-1]]))[_PREFIX - 1 :]
    log_p = logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
    taken = np.take_along_axis(log_p, tokens[..., None].astype(np.int64), axis=-1)[..., 0]
    return np.asarray(taken.sum(axis=0))
