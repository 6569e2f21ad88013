"""Laws on a device: values and gradients of a member beside its reference on the host.

The reference is the plain scan in float64 on the CPU. What a kernel leaves unwritten, or leaves
from another call, must not pass: inputs are another draw for every row, the program runs on others
first, and the memory its results are written to holds NaN. So does the padding.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import rnn_jax
from benchmarks.measuring.case import Case
from benchmarks.measuring.implementation import Prepared, compile_jax
from benchmarks.measuring.members import Member
from benchmarks.measuring.oracle import HALF, Wrong, host, tolerance
from benchmarks.peers import backend_of
from benchmarks.peers.ours import refusing

__all__ = ["Law", "case", "held", "relative_error", "seed_of"]

# An array that is small beside its neighbours is compared with a hundredth of the largest of them:
# rounding errors of sums that nearly cancel are of the size of the terms.
_SMALL = 1e-2
# What its draw makes ill-conditioned (a layer norm divides by a deviation, which may be small) may
# be off by a few times as much as a rounding of all that it reads changes the reference.
_ROUNDED, _TIMES = 1 / 32, 4
# In 16 bits carries and sums stay in float32 and each product rounds what it reads: what is right
# is off by two roundings at most over these few steps, and 4 are allowed in place of 16.
_OF_HALF = 1 / 4
# The reference is compiled once and called once.
_UNOPTIMISED = {"xla_backend_optimization_level": 0}


@dataclass(frozen=True)
class Law:
    """A member at a shape ``B, T, H, D``, in a dtype and precision."""

    title: str
    member: Member
    shape: tuple[int, int, int, int]
    dtype: str
    precision: str

    def facts(self) -> dict[str, Any]:
        """What its rows state."""
        batch, length, hidden, features = self.shape
        sizes = {"B": batch, "T": length, "H": hidden, "D": features}
        name = f"{self.title}-{'x'.join(map(str, self.shape))}"
        return {"workload": name, **sizes, "dtype": self.dtype, "precision": self.precision}


def case(
    group: str,
    law: Law,
    pass_name: str,
    names: tuple[str, ...],
    *,
    rank: int = 1,
    truncation: str | None = None,
) -> Case:
    """The law for each backend of ours that is named."""
    facts = law.facts() | {"truncation": truncation}
    seed = partial(seed_of, facts["workload"], pass_name, law.dtype, law.precision)
    return Case(
        group,
        pass_name,
        facts,
        names,
        lambda: lambda name: _prepared(law, name, seed(name)),
        of="nothing: a law is not timed",
        rank=rank,
        timed=False,
    )


def seed_of(*names: str) -> int:
    """Another one for every row, and the same whenever it is measured again."""
    return zlib.crc32("/".join(names).encode())


def held(errors: dict[str, float], allowed: float, compile_s: float | None = None) -> Prepared:
    """What a row says of errors by the names of their arrays; `Wrong` where one is too large."""
    where = max(errors, key=lambda name: (not errors[name] <= allowed, errors[name]))
    facts = {"largest_error": errors[where], "allowed_error": allowed, "error_in": where}
    if not errors[where] <= allowed:
        raise Wrong(
            f"wrong: its {where} is off by {errors[where]:.1e} of the largest element, more than "
            f"{allowed:.1e}",
            facts,
        )
    return Prepared(lambda: None, dict, compile_s, facts=lambda: facts)


def _prepared(law: Law, name: str, seed: int) -> Prepared:
    backend = backend_of(name)
    with refusing(backend):
        layer = law.member.make(backend, False)
        drawn = [_draw(law, seed + n) for n in (0, 1)]
        got, compile_s = _on_device(law, layer, drawn)
    dtype = "bfloat16" if law.member.rounds else law.dtype
    bound = tolerance(dtype, law.precision, law.shape[1]).relative
    want, nearby = _on_host(law, drawn[0], 0.0), _on_host(law, drawn[0], _ROUNDED * bound)
    sensitive = _TIMES * max(_errors(nearby, want).values())
    allowed = bound * (_OF_HALF if dtype in HALF else 1)
    return held(_errors(got, want), max(allowed, sensitive), compile_s)


def _errors(got: Any, want: Any) -> dict[str, float]:
    """By the name of the array."""
    return {
        f"{part}{jax.tree_util.keystr(path)}": error
        for part in want
        for path, error in jax.tree.leaves_with_path(relative_error(got[part], want[part]))
    }


def relative_error(got: Any, want: Any) -> Any:
    """Of each array of a tree, as part of its largest element; NaN where it has one."""
    largest = jax.tree.map(lambda b: float(np.abs(b).max(initial=0.0)), want)
    least = _SMALL * max(jax.tree.leaves(largest), default=0.0)

    def one(a: np.ndarray, b: np.ndarray, size: float) -> float:
        wide = np.result_type(b.dtype, np.float64)
        error = float(np.abs(a.astype(wide) - b).max(initial=0.0))
        return error / max(size, least) if error else 0.0

    return jax.tree.map(one, got, want, largest)


def _draw(law: Law, seed: int) -> dict[str, Any]:
    """Parameters, carry, inputs, mask, key and the weights of the loss; NumPy's, in the dtype."""
    batch, length, _, features = law.shape
    rng, layer = np.random.default_rng(seed), law.member.make("scan", True)
    dtype = jnp.dtype(law.dtype)

    def rounded(array: Any) -> np.ndarray:
        array = np.asarray(array)
        return array.astype(dtype) if jnp.issubdtype(array.dtype, jnp.floating) else array

    def moved(leaf: Any) -> np.ndarray:
        """Biases and gains begin as zeros and ones, which would hide much."""
        leaf = np.asarray(leaf)
        return rounded(leaf + 0.3 * rng.standard_normal(leaf.shape) if leaf.ndim == 1 else leaf)

    def normal(shape: Any) -> Any:
        """Like a shape of JAX."""
        values = 0.5 * rng.standard_normal(shape.shape)
        if jnp.issubdtype(shape.dtype, jnp.complexfloating):
            values = values + 0.5j * rng.standard_normal(shape.shape)
        return values.astype(shape.dtype)

    with host():
        params = jax.tree.map(moved, jax.device_get(layer.init(jax.random.key(seed), features)))
    lengths = np.concatenate([[length, 0], rng.integers(1, length + 1, batch)])[:batch]
    mask = np.arange(length)[:, None] < lengths[None]
    if law.member.ids:
        xs = rng.integers(0, features, (length, batch), np.int32)
    else:
        xs = rounded(rng.standard_normal((length, batch, features)))
        xs[~mask] = np.nan
    shape_of = partial(jax.eval_shape, lambda p, x: layer.apply(p, None, x))
    carry, ys = shape_of(params, xs)
    return {
        "params": params, "carry": jax.tree.map(normal, carry), "xs": xs, "mask": mask,
        "seed": np.uint32(seed % 2**31),
        "weights": (jax.tree.map(normal, carry), normal(ys)),
    }  # fmt: skip


def _outcome(layer: rnn_jax.Layer, wide: str, noisy: bool, drawn: dict[str, Any]) -> Any:
    """Values of a sequence, and the gradient of a weighted sum of all of them."""
    key = jax.random.key(drawn["seed"]) if noisy else None

    def weighed(a: Any, w: Any) -> jax.Array:
        products = a.real * w.real + (a.imag * w.imag if jnp.iscomplexobj(a) else 0)
        return products.astype(wide).sum()

    def loss(read: tuple[Any, Any, Any]) -> Any:
        params, carry, xs = read
        xs = drawn["xs"] if xs is None else xs
        new, ys = layer.apply(params, carry, xs, mask=drawn["mask"], key=key)
        sums = jax.tree.leaves(jax.tree.map(weighed, (new, ys), drawn["weights"]))
        return sum(sums), (new, ys)

    is_ids = jnp.issubdtype(drawn["xs"].dtype, jnp.integer)
    read = drawn["params"], drawn["carry"], None if is_ids else drawn["xs"]
    (dparams, dcarry, dxs), (new, ys) = jax.grad(loss, has_aux=True)(read)
    gradients = {"dparams": dparams, "dcarry": dcarry, "dxs": dxs}
    return {"carry": new, "ys": ys, **gradients}


def _on_device(law: Law, layer: rnn_jax.Layer, drawn: list[dict[str, Any]]) -> tuple[Any, float]:
    """The outcome of the first draw, written over NaN after that of the last one."""
    wide = "float64" if law.dtype == "float64" else "float32"
    outcome = partial(_outcome, layer, wide, law.member.noisy)

    def nan() -> Any:
        return jax.tree.map(lambda s: jnp.full(s.shape, jnp.nan, s.dtype), shapes)

    def over(poison: Any, drawn: dict[str, Any]) -> Any:
        return outcome(drawn)

    shapes = jax.eval_shape(outcome, drawn[0])
    program = compile_jax(over, nan(), drawn[0], donate=0, keep_unused=True)
    for given in reversed(drawn):
        results = program.run(nan(), given)
    return jax.device_get(results), program.compile_s


def _on_host(law: Law, drawn: dict[str, Any], off: float) -> Any:
    """The reference's outcome, of numbers that are ``off`` by so much, up or down."""
    rng = np.random.default_rng(0)
    wide = "float32" if law.member.noisy and law.dtype != "float64" else "float64"
    with host(), jax.enable_x64(wide == "float64"), jax.default_matmul_precision("highest"):

        def widened(array: np.ndarray) -> np.ndarray:
            if jnp.issubdtype(array.dtype, jnp.complexfloating):
                array = array.astype(np.result_type(wide, np.complex64))
            elif jnp.issubdtype(array.dtype, jnp.floating):
                array = array.astype(wide)
            else:
                return array
            sides = rng.choice(np.array([1 - off, 1 + off], wide), array.shape)
            return np.asarray(array * sides)

        layer: Any = law.member.make("scan", True)
        outcome = _reference(layer, wide, law.member.noisy)
        return jax.device_get(outcome(jax.tree.map(widened, drawn)))


@cache
def _reference(layer: Any, wide: str, noisy: bool) -> Callable[[Any], Any]:
    """Compiled once for all dtypes and backends of a layer."""
    outcome = partial(_outcome, layer, wide, noisy)
    compiled: Callable[[Any], Any] = jax.jit(outcome, compiler_options=_UNOPTIMISED)
    return compiled
