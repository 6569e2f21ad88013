"""`linear_cross_entropy` beside `cross_entropy` of all logits, in float64."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnn_jax as r
from rnn_jax.arrays.products import affine
from rnn_jax.losses.chunked import suggested_chunk
from tests.cases import QUICK

STEPS, BATCH, FEATURES, WORDS = 3, 4, 5, 11


def drawn(seed: int, steps: int, words: int, dtype: Any = float) -> tuple[Any, ...]:
    rng = np.random.default_rng(seed)
    shapes = (steps, BATCH, FEATURES), (FEATURES, words), (words,)
    arrays = (jnp.asarray(rng.normal(size=shape), dtype) for shape in shapes)
    return (*arrays, jnp.asarray(rng.integers(0, words, (steps, BATCH))))


def reference(x: Any, w: Any, b: Any, targets: Any, **options: Any) -> Any:
    return r.cross_entropy(affine(x, w, b), targets, **options)


# Compiled as one program: operation by operation it takes ten times as long.
compiled = partial(jax.jit, compiler_options=QUICK)


def close(a: Any, b: Any, atol: float = 1e-12) -> None:
    for one, other in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_allclose(
            np.asarray(one, float), np.asarray(other, float), rtol=atol, atol=atol
        )


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("words", [1, 10])
@pytest.mark.parametrize("steps", [0, 1, 3])
@pytest.mark.parametrize(
    ("bias", "masked", "smoothing", "reduction"),
    [
        (True, False, 0.0, "mean"),
        (True, True, 0.3, "none"),
        (False, True, 0.0, "sum"),
        (False, False, 1.0, "mean"),
    ],
)
def test_equals_cross_entropy_of_all_logits(
    steps: int, words: int, bias: bool, masked: bool, smoothing: float, reduction: Any
) -> None:
    x, w, b, targets = drawn(steps, steps, words)
    rng = np.random.default_rng(words)
    mask = rng.random(targets.shape) < 0.7 if masked else np.ones(targets.shape, bool)
    options = {"mask": mask, "label_smoothing": smoothing, "reduction": reduction}
    factors = rng.normal(size=targets.shape if reduction == "none" else ())
    given, wanted = (w, b if bias else None), (0, 1, 2) if bias else (0, 1)

    def loss(function: Any, x: Any, w: Any, b: Any) -> Any:
        return (factors * function(x, w, b, targets, **options)).sum()

    expected = compiled(jax.value_and_grad(partial(loss, reference), wanted))(x, *given)
    padded = jnp.where(mask[..., None], x, jnp.nan)
    for chunk, axis in itertools.product((1, 3, 100), (1, 0)):

        def fused(
            x: Any, w: Any, b: Any, targets: Any, chunk: int = chunk, axis: int = axis, **more: Any
        ) -> Any:
            matrix = w if axis else w.T
            return r.linear_cross_entropy(
                x, matrix, b, targets, chunk=chunk, vocab_axis=axis, **more
            )

        found = compiled(jax.value_and_grad(partial(loss, fused), wanted))(padded, *given)
        close(found, expected)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_derivatives_of_second_order_and_vmap(smoothing: float) -> None:
    x, w, b, targets = drawn(1, STEPS, WORDS)
    plain = partial(reference, targets=targets, label_smoothing=smoothing)

    def fused(x: Any, w: Any, b: Any) -> Any:
        return r.linear_cross_entropy(x, w, b, targets, chunk=4, label_smoothing=smoothing)

    every = (0, 1, 2)

    def twice(loss: Any) -> Any:
        def again(*given: Any) -> Any:
            return sum(jnp.sin(leaf).sum() for leaf in jax.grad(loss, every)(*given))

        return compiled(jax.grad(again, every))(x, w, b)

    close(twice(fused), twice(plain))
    hessian = compiled(jax.jacfwd(jax.grad(fused, every), every))(x, w, b)
    close(hessian, compiled(jax.hessian(plain, every))(x, w, b))
    pairs = jnp.stack([x, 2 * x]), jnp.stack([w, -w]), b

    def over(loss: Any) -> Any:
        return compiled(jax.vmap(jax.grad(loss, every), in_axes=(0, 0, None)))(*pairs)

    close(over(fused), over(plain))
    with jax.disable_jit():
        close(jax.grad(fused, every)(x, w, b), jax.grad(plain, every)(x, w, b))
    with pytest.raises(ValueError, match="reverse mode"):
        jax.jvp(partial(fused, x), (w, b), (w, b))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_forbidden_words_and_unknown_targets(smoothing: float) -> None:
    x, w, b, targets = drawn(2, STEPS, WORDS)
    forbidden = b.at[:5].set(-jnp.inf)  # all of the first chunk
    allowed = jnp.where(targets < 5, targets + 5, targets)
    options = {"label_smoothing": smoothing, "reduction": "none"}

    def both(b: Any, targets: Any) -> Any:
        def gradients(loss: Any) -> Any:
            def summed(x: Any, w: Any, b: Any) -> Any:
                return loss(x, w, b, targets, **options).sum()

            return jax.value_and_grad(summed, (0, 1, 2))(x, w, b)

        fused = partial(r.linear_cross_entropy, chunk=4)
        return gradients(fused), gradients(reference)

    close(*compiled(both)(forbidden, allowed))
    close(*compiled(both)(b, targets.at[0, 0].set(WORDS)))  # NaN, gradients too
    with pytest.raises(ValueError, match="target 11 lies outside the vocabulary of 11"):
        both(b, targets.at[0, 0].set(WORDS))


def test_narrow_products_have_wide_sums() -> None:
    # What both round to bfloat16, 2⁻⁹ of its size, are gradients below 1: of the logits before they
    # are multiplied, or exponentials in their place.
    given = drawn(3, STEPS, WORDS, jnp.bfloat16)
    x, w, b, targets = given

    def gradients(loss: Any) -> Any:
        return compiled(jax.value_and_grad(lambda *given: loss(*given, targets), (0, 1, 2)))(
            x, w, b
        )

    fused = gradients(partial(r.linear_cross_entropy, chunk=4))
    close(fused, gradients(reference), atol=2**-8)
    wide = [leaf.astype(jnp.float32) for leaf in (x, w, b)]
    logits = affine(*wide)
    close(fused[0], r.cross_entropy(logits, targets), atol=1e-6)  # products of bfloat16 are exact


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("wide", [False, True])
def test_no_dtype_is_promoted_by_surprise(dtype: Any, wide: bool) -> None:
    with jax.enable_x64(wide), jax.numpy_dtype_promotion("strict"):
        x, w, b, targets = drawn(5, STEPS, WORDS, dtype)
        narrow = targets.astype(jnp.uint8)

        def loss(x: Any, w: Any, b: Any) -> Any:
            return r.linear_cross_entropy(x, w, b, narrow, chunk=4, label_smoothing=0.1)

        found = compiled(jax.grad(loss, (0, 1, 2)))(x, w, b)
    assert all(leaf.dtype == dtype for leaf in found)


def test_the_logits_are_never_held() -> None:
    rows, words = 64, 50_000
    shapes = (rows, 8), (8, words), (words,)
    x, w, b = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes)
    targets = jax.ShapeDtypeStruct((rows,), jnp.int32)

    def temporaries(loss: Any) -> int:
        compiled = jax.jit(jax.grad(loss, (0, 1, 2))).lower(x, w, b, targets).compile()
        memory = compiled.memory_analysis()
        assert memory is not None
        return int(memory.temp_size_in_bytes)

    logits = 4 * rows * words
    assert temporaries(reference) > logits
    assert temporaries(partial(r.linear_cross_entropy, chunk=1000)) < logits / 10


@pytest.mark.parametrize(
    ("rows", "features", "words", "chunk"),
    [
        (100, 50, 8_000, None),  # they fit the cache
        (140, 128, 65_536, 4096),
        (4_480, 128, 8_192, None),  # a product more would cost more than it saves
        (4_480, 128, 262_144, 1024),  # but a gigabyte of logits is too much
        (10**6, 8, 300, 256),
        (10**7, 8, 20, 20),
        (0, 8, 10**9, None),
    ],
)
def test_the_chunk_suits_the_shape(rows: int, features: int, words: int, chunk: int | None) -> None:
    assert suggested_chunk(rows, features, words) == chunk


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"w": np.ones((4, 7))}, "their last axis must be of 4"),
        ({"w": np.ones((5, 7)), "vocab_axis": 0}, r"read as \[V, H\]"),
        ({"w": np.ones(7)}, r"no matrix \[H, V\]"),
        ({"w": np.ones((5, 0)), "b": None}, "with a word"),
        ({"b": np.ones(6)}, r"does not fit 7 words: pass \[7\]"),
        ({"targets": np.zeros((2, 2), int)}, "targets must have the features' shape"),
        ({"targets": np.zeros((3, 2))}, "integers, not float"),
        ({"targets": np.full((3, 2), 7)}, "target 7 lies outside the vocabulary of 7"),
        ({"mask": np.ones((3, 1), bool)}, "the mask has shape"),
        ({"chunk": 0}, "chunk must be"),
        ({"chunk": 2.5}, "chunk must be"),
        ({"label_smoothing": 1.5}, r"label_smoothing must lie in \[0, 1\]"),
        ({"reduction": "max"}, "reduction must be"),
        ({"vocab_axis": 2}, "vocab_axis must be 1"),
        ({"features": "x"}, "the features"),
    ],
)
def test_bad_input_is_one_sentence(change: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {
        "features": np.ones((3, 2, 5)),
        "w": np.ones((5, 7)),
        "b": np.ones(7),
        "targets": np.zeros((3, 2), int),
    }
    given = {
        name: jnp.asarray(value) if isinstance(value, np.ndarray) else value
        for name, value in {**given, **change}.items()
    }
    with pytest.raises(ValueError, match=message):
        r.linear_cross_entropy(**given)
