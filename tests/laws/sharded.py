"""A program, run by `test_sharding`: what several devices compute equals what one does.

``JAX_ENABLE_X64=1 python -m tests.laws.sharded WAY PART``, with two virtual devices or more.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import rnn_jax as r
from rnn_jax.arrays.masking import fill_masked
from tests.cases import CASES, CAUSAL, QUICK, SIZE, Case, assert_close, carry_loss, outputs_loss

T, B, DEVICES = 5, 4, 2
ROWS = PartitionSpec("data")
STEPS = PartitionSpec(None, "data")
ALL = PartitionSpec()
LENGTHS = jnp.array([5, 0, 3, 1])
MASK = r.length_mask(LENGTHS, T)
RESETS = jnp.zeros((T, B), bool).at[2, 0].set(True).at[1, 2].set(True)
SCALE = jnp.linspace(0.5, 1.5, T * B).reshape(T, B)

Where = tuple[Any, ...]  # a tree of specs, for arguments or results


def mesh(kind: AxisType) -> jax.sharding.Mesh:
    return jax.make_mesh((DEVICES,), ("data",), axis_types=(kind,))


def mapped(f: Callable[..., Any], into: Where, out: Any, *args: Any) -> Any:
    """``f``, which gets its device's first row before its arguments, inside ``shard_map``."""

    def one(*args: Any) -> Any:
        return f(jax.lax.axis_index("data") * (B // DEVICES), *args)

    over = jax.shard_map(one, mesh=mesh(AxisType.Auto), in_specs=into, out_specs=out)
    return jax.jit(over, compiler_options=QUICK)(*args)


def explicit(f: Callable[..., Any], into: Where, out: Any, *args: Any) -> Any:
    """``f`` of arrays that are laid out over an Explicit axis; its results are laid out, too."""
    devices = mesh(AxisType.Explicit)
    with jax.set_mesh(devices):

        def put(spec: Any, tree: Any) -> Any:
            return None if tree is None else jax.device_put(tree, NamedSharding(devices, spec))

        laid_out = map(put, into, args)
        results = jax.jit(partial(f, 0), compiler_options=QUICK)(*laid_out)
        specs = jax.tree.broadcast(out, results, is_leaf=lambda s: s is None)

        def check(result: Any, spec: Any) -> None:
            wanted = NamedSharding(devices, spec)
            assert result.sharding.is_equivalent_to(wanted, result.ndim), (result.sharding, spec)

        jax.tree.map(check, results, specs)
        return results


WAYS = {"shard_map": mapped, "explicit": explicit}


def compare(
    way: str, f: Callable[..., Any], into: Where, out: Any, *args: Any, rtol: float = 1e-12
) -> None:
    expected = jax.jit(partial(f, 0), compiler_options=QUICK)(*args)
    got = WAYS[way](f, into, out, *args)
    assert_close(jax.device_get(got), jax.device_get(expected), rtol=rtol)


def gradients(
    way: str, member: Any, case: Case, given: bool, every: bool = False, rtol: float = 1e-12
) -> None:
    """Values and gradients of one member, everything that travels along a sequence in use."""
    params, xs = case.init(), case.inputs(T, (B,))
    carry = case.carry((B,), params) if given else None

    def f(rows: Any, params: Any, carry: Any, xs: Any, mask: Any, scale: Any, resets: Any) -> Any:
        def loss(params: Any, carry: Any) -> Any:
            run = partial(r.all_carries, member) if every else member.apply
            new, ys = run(
                params, carry, xs, mask=mask, gradient_scale=scale, resets=resets,
                key=jax.random.key(3), rows=rows,
            )  # fmt: skip
            return outputs_loss(fill_masked(ys, mask)) + carry_loss(new), (new, ys)

        grads, results = jax.grad(loss, (0, 1), has_aux=True, allow_int=True)(params, carry)
        return results, grads

    carried = ROWS if given else None
    into = (ALL, carried, STEPS, STEPS, STEPS, STEPS)
    out = ((STEPS if every else ROWS, STEPS), (ALL, carried))
    compare(way, f, into, out, params, carry, xs, MASK, SCALE, RESETS, rtol=rtol)


def members(way: str) -> None:
    """Every cell, layer and model, from the initial carry."""
    for case in CASES:
        # A reversed recurrence differs in nothing that is laid out; one of each form will do.
        if "reverse" not in case.name or case.name.split("-")[0] in ("stack", "gru", "lru", "echo"):
            with_name(case, gradients, way, case.member, case, False)


def carries(way: str) -> None:
    """From a carry that is handed in, and every carry."""
    for case in CAUSAL:
        if case.name in ("lstm", "lru", "gru-layer-norm", "stack", "remat-embedding-weight-drop"):
            with_name(case, gradients, way, case.member, case, True)
            with_name(case, gradients, way, case.member, case, False, True)


def mixed(way: str) -> None:
    """bfloat16 products, whose gradients are rounded once a device."""
    for case in CAUSAL:
        if case.name in ("lstm", "lru", "gru-layer-norm", "remat-embedding-weight-drop", "lm"):
            member = r.mixed_precision(case.member)
            with_name(case, gradients, way, member, case, True, False, 2**-7)


def truncations(way: str) -> None:
    """Every kind of truncation."""
    for case in CAUSAL:
        if case.name in ("gru-after", "min-gru", "lm-embedding-dropout"):
            kinds = (r.full(), r.chunked(2), r.sliding(1), r.tail(2), r.randomized(0.7))
            for kind in kinds:
                with_name((case, kind), gradients, way, r.truncate(case.member, kind), case, False)


def models(way: str) -> None:
    """A classifier, an encoder-decoder and a tagger, with their losses."""
    layer = r.recurrent(r.gru(3))
    classifier = r.sequence_classifier(3, layer, input_size=SIZE)
    translator = r.encoder_decoder(SIZE, layer, r.language_model(SIZE, layer), bridge=True)
    tagger = r.sequence_tagger(SIZE, r.serial(r.linear(3), layer), input_size=SIZE)
    ids, targets = CAUSAL[-1].inputs(T, (B,)), CAUSAL[-1].inputs(T, (B,), seed=5)

    def f(rows: Any, params: Any, ids: Any, targets: Any, mask: Any, last: Any) -> Any:
        def loss(params: Any) -> Any:
            first, second, third = params
            _, logits = classifier.apply(first, None, ids, mask=mask)
            carry = translator.encode(second, ids, mask)
            carry, scores = translator.apply(second, carry, targets, mask=mask)
            _, tags = tagger.apply(third, None, ids, mask=mask)
            wanted = jax.lax.stop_gradient(scores)
            read_out = third["readout"]["w"], third["readout"]["b"]
            losses = (
                r.mean_squared_error(tags, wanted, mask=mask, reduction="sum"),
                r.mean_squared_error(tags, wanted, mask=mask, reduction="none").sum(),
                r.cross_entropy(
                    tags, ids, mask=mask, reduction="sum", class_weights=jnp.arange(1.0, 1 + SIZE)
                ),
                r.cross_entropy(logits, last, reduction="sum"),
                r.cross_entropy(scores, targets, mask=mask, reduction="sum"),
                r.cross_entropy(scores, ids, mask=mask, reduction="none").sum(),
                r.linear_cross_entropy(
                    logits, *read_out, ids[0], mask=mask[0], chunk=2, reduction="none"
                ).sum(),
            )
            return sum(losses), (carry, fill_masked(scores, mask), logits)

        return jax.grad(loss, has_aux=True)(params)

    three: tuple[Any, ...] = (classifier, translator, tagger)
    params = tuple(model.init(jax.random.key(i)) for i, model in enumerate(three))
    into = (ALL, STEPS, STEPS, STEPS, ROWS)
    out = (ALL, (ROWS, STEPS, ROWS))
    compare(way, f, into, out, params, ids, targets, MASK, targets[0] % 3)


def generation(way: str) -> None:
    """Every generator, from a carry and without one."""
    layer = r.serial(r.recurrent(r.lstm(3)), r.recurrent(r.min_gru(SIZE)))
    model = r.language_model(SIZE, layer)
    params = Case("lm", model, ids=True, model=True).init()
    prefix = CAUSAL[-1].inputs(T, (B,))
    mask = r.length_mask(jnp.array([5, 2, 3, 1]), T)
    key = jax.random.key(3)
    # Inside `shard_map` devices with one key draw the same: there it is the most probable token.
    hot = {"temperature": 0} if way == "shard_map" else {"top_k": 4, "top_p": 0.9}

    def f(rows: Any, params: Any, carry: Any, prefix: Any, mask: Any) -> Any:
        drawn = r.generate(
            model, params, carry, prefix, length=4, key=key, mask=mask, stop=0, min_length=2, **hot
        )
        plain = r.generate(model, params, None, prefix, length=3, key=key, forbidden=(1,), **hot)
        best = r.beam_search(model, params, carry, prefix, beams=2, length=3, stop=0, mask=mask)
        _, likely = r.predict(model, params, carry, prefix, mask=mask)
        numbers = jax.nn.one_hot(prefix, SIZE)
        free = r.run_freely(layer, params["layer"], carry, numbers, length=3, mask=mask)
        return drawn, plain, best, likely, free

    into = (ALL, ROWS, STEPS, STEPS)
    out = ((ROWS, STEPS), (ROWS, STEPS), (STEPS, ROWS), STEPS, (ROWS, STEPS))
    carry = Case("lm", model, ids=True, model=True).carry((B,), params)
    compare(way, f, into, out, params, carry, prefix, mask)


def training(way: str) -> None:
    """Steps and compiled loops, with every form of update, and evaluation."""
    model = r.language_model(SIZE, r.recurrent(r.gru(3)))
    params = Case("lm", model, ids=True, model=True).init()
    sampled = r.language_model(SIZE, r.recurrent(r.gru(3)), readout=r.sampled_softmax(3))
    adaptive = r.language_model(SIZE, r.recurrent(r.gru(3)), readout=r.adaptive_softmax([2]))
    others = [Case("lm", m, ids=True, model=True).init() for m in (sampled, adaptive)]
    data = CAUSAL[-1].inputs(6, (T, B))
    windows = r.Windows(data[:3], data[3:], resets=data[:3] % 4 == 0)
    summed = partial(r.cross_entropy, reduction="sum")

    def f(rows: Any, params: Any, carry: Any, windows: Any, mask: Any) -> Any:
        results = []
        for optimizer in (r.sgd(0.1), optax.adam(0.1)):
            step = r.make_train_step(model, optimizer, loss=summed)
            run = r.make_train_steps(step, summed=True)
            for start in (carry, None):
                state = r.TrainState(params, optimizer.init(params), start, jnp.zeros((), int))
                state, totals = run(state, windows, 0, 3)
                batch = r.Batch(windows.inputs[0], windows.targets[0], mask, mask)
                state, metrics = step(state, batch)
                results.append((state.params, added_up((totals, metrics), rows)))
            results.append((state.params, added_up(r.make_evaluate(model)(params, windows), rows)))
        batch = r.Batch(windows.inputs[0], windows.targets[0], mask)
        for each, first, optimizer in (
            (model, params, r.sgd(0.1, clip=0.1)),
            (sampled, others[0], r.lazy(optax.adam(0.1))),
            (adaptive, others[1], r.sgd(0.1)),
        ):
            step = r.make_train_step(each, optimizer, loss=summed)
            state = r.TrainState(first, optimizer.init(first), None, jnp.zeros((), int))
            key = jax.random.key(2) if each is sampled else None
            state, metrics = step(state, batch, key=key)
            results.append((state.params, added_up(metrics, rows)))
        return results

    def added_up(tree: Any, rows: Any) -> Any:
        return jax.lax.psum(tree, "data") if isinstance(rows, jax.Array) else tree

    batches = PartitionSpec(None, None, "data")
    carry = Case("lm", model, ids=True, model=True).carry((B,), params)
    compare(way, f, (ALL, ROWS, batches, STEPS), ALL, params, carry, windows, MASK)


def eager(way: str) -> None:
    """Outside ``jit``, without a mesh in the context and with one; and a stream."""
    devices = mesh(AxisType.Explicit)
    model = r.language_model(SIZE, r.recurrent(r.gru(3)))
    params = Case("lm", model, ids=True, model=True).init()
    prefix = CAUSAL[-1].inputs(T, (B,))
    apart = jax.device_put(prefix, NamedSharding(devices, STEPS))
    wanted = list(r.stream(model, params, None, prefix, length=3, key=jax.random.key(3)))

    def check() -> None:
        got = list(r.stream(model, params, None, apart, length=3, key=jax.random.key(3)))
        assert_close(jax.device_get(got), jax.device_get(wanted))
        got_all = model.apply(params, None, apart)
        assert got_all[1].sharding.is_equivalent_to(apart.sharding, 3)
        assert_close(jax.device_get(got_all), jax.device_get(model.apply(params, None, prefix)))

    check()
    with jax.set_mesh(devices):
        check()


def with_name(name: Any, f: Callable[..., Any], *args: Any) -> None:
    try:
        f(*args)
    except Exception as error:
        error.add_note(f"in {name}")
        raise


if __name__ == "__main__":
    globals()[sys.argv[2]](sys.argv[1])
