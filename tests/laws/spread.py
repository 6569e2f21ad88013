"""A program, run by `test_devices`: training on several devices is training on one.

``JAX_ENABLE_X64=1 python -m tests.laws.spread PART``, with eight virtual devices.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import rnn_jax as r
from benchmarks.measuring.compiled import all_reduces
from rnn_jax.training import Windows, sentence_stream
from rnn_jax.training.blocks import jitted_block, running
from rnn_jax.training.devices import devices_of
from tests.cases import CAUSAL, QUICK, SIZE, Case, assert_close
from tests.training.test_feeding import fed_windows

T, B = 3, 8
EVERYWHERE: Any = PartitionSpec()
ROWS: Any = PartitionSpec("data")
STEPS = PartitionSpec(None, "data")
STATE: Any = r.TrainState(EVERYWHERE, EVERYWHERE, ROWS, EVERYWHERE)
RNG = np.random.default_rng(0)
LENGTHS = jnp.array([3, 0, 3, 1, 2, 3, 2, 3])
# Whatever acts on the gradient as a whole must see that of all devices.
OPTIMIZER = r.training.ema(
    optax.MultiSteps(optax.chain(optax.clip_by_global_norm(0.1), optax.adam(0.01)), 2), 0.9
)


def mesh(count: int) -> Mesh:
    return Mesh(np.array(jax.devices()[:count]), ("data",))


def as_model(case: Case) -> Any:
    """A member of the table as a model."""
    return case.member if case.model else r.sequence_tagger(SIZE, case.member, input_size=SIZE)


def over(count: int, step: Any) -> Any:
    """A step of one device's rows on the rows of a whole batch."""

    def spread(state: Any, batch: r.Batch, key: Any) -> Any:
        # A classifier's targets have no axis of steps.
        specs = jax.tree.map(lambda leaf: ROWS if leaf.ndim == 1 else STEPS, batch)
        return jax.shard_map(
            lambda state, batch, key: step(state, batch, key=key),
            mesh=mesh(count),
            in_specs=(STATE, specs, EVERYWHERE),
            out_specs=(STATE, EVERYWHERE),
        )(state, batch, key)

    return spread


def check(model: Any, batch: r.Batch, counts: Any, rtol: float = 1e-12, **options: Any) -> None:
    """Two steps on so many devices, against two on the whole batch."""
    options = {"skip_nonfinite": True, **options}
    optimizer = options.pop("optimizer", OPTIMIZER)
    summed = options.pop("summed", False)
    rows = None if batch.source is not None else (B,)
    params = Case("model", model, ids=True, model=True).init()  # compiles nothing
    state = r.init_train_state(model, optimizer, params, batch_shape=rows)
    one = r.make_train_step(model, optimizer, **options)

    def twice(step: Any, state: Any, batch: Any) -> Any:
        metrics = []
        for key in jax.random.split(jax.random.key(1)):
            state, told = step(state, batch, key)
            metrics.append(told)
        return state, metrics

    def plain(state: Any, batch: Any, key: Any) -> Any:
        return one(state, batch, key=key)

    def quick(step: Any) -> Any:
        return jax.jit(step, compiler_options=QUICK)

    wanted = twice(quick(plain), state, batch)
    for count in counts:
        step = over(count, r.make_train_step(
            model, optimizer, axis_name="data", summed=summed, **options
        ))  # fmt: skip
        # Laid out as the step leaves it, so that the second step is not compiled anew.
        laid_out = (NamedSharding(mesh(count), spec) for spec in STATE)
        placed = r.TrainState(*map(jax.device_put, state, laid_out))
        got = twice(quick(step), placed, batch)
        assert_close(jax.device_get(got), jax.device_get(wanted), rtol=rtol)


def batch_for(case: Case, *, masked: bool = True) -> r.Batch:
    mask = r.length_mask(LENGTHS, T) if masked else None
    targets = jnp.asarray(RNG.integers(0, 2, (T, B)))  # which every model of the table has
    return r.Batch(case.inputs(T, (B,)), targets, mask)


def table() -> None:
    """Every cell, layer and model that is causal, with noise drawn row by row."""
    # Every part but this one has an optimiser that takes a while to compile.
    options: Any = {"noise": "by row", "optimizer": r.sgd(0.1, clip=0.1)}
    for i, case in enumerate(CAUSAL):
        with_name(case, as_model(case), batch_for(case), [(2, 4, 8)[i % 3]], **options)


LSTM = r.recurrent(r.lstm(4))
NOISY = r.language_model(
    SIZE,
    r.serial(
        r.weight_drop(LSTM, 0.3),
        r.activation_penalty(tar=0.5),
        r.dropout(0.3, variational=True),
        r.activation_penalty(0.5),
        r.zoneout(r.gru(5), 0.2),
        r.dropout(0.3),
    ),
    embedding_size=6,
)  # fmt: skip
IDS = Case("ids", None, ids=True)


def noise() -> None:
    """All that draws noise, drawn in both ways, on every number of devices."""
    model = r.truncate(NOISY, r.randomized(0.7))
    for how in (True, "by row"):
        check(model, batch_for(IDS), (1, 2, 4, 8), noise=how)
    check(model, batch_for(IDS, masked=False), [4], noise="by row")
    for kind in (r.chunked(2), r.tail(2), r.sliding(1)):
        layer = r.serial(r.weight_drop(LSTM, 0.3), r.dropout(0.3))
        with_name(kind, r.truncate(r.language_model(SIZE, layer), kind), batch_for(IDS), [4])


def losses() -> None:
    """Means under masks and weights, sums, losses of one's own; resets, sources, classes."""
    model, batch = r.language_model(SIZE, LSTM), batch_for(IDS)
    weighted = partial(r.cross_entropy, class_weights=jnp.arange(SIZE) * 1.0, label_smoothing=0.1)
    check(model, batch, [4], loss=weighted)
    check(model, batch._replace(mask=None), [4], loss=weighted)
    check(model, batch, [4], loss=partial(r.cross_entropy, reduction="sum"), summed=True)
    check(NOISY, batch, [4], loss=partial(r.cross_entropy, reduction="sum"), summed=True)
    nothing = batch._replace(mask=jnp.zeros((T, B), bool))
    check(model, nothing, [4])

    def own(outputs: Any, targets: Any, /, *, mask: Any) -> Any:  # NaN where nothing counts
        wanted = jax.nn.one_hot(targets, SIZE)
        return jnp.where(mask[..., None], (outputs - wanted) ** 2, 0).sum() / mask.sum()

    check(model, batch, [4, 8], loss=own)
    check(model, batch._replace(resets=batch.inputs % 3 == 0), [4])
    for optimizer in (r.sgd(0.1), optax.lbfgs()):
        check(model, batch, [4], optimizer=optimizer)
    layer = r.serial(r.embedding(4), r.dropout(0.3), r.recurrent(r.gru(4)))
    translator = r.encoder_decoder(SIZE, layer, r.language_model(SIZE, layer))
    source = r.Batch(*batch[:3], None, batch.targets, batch.mask)
    for how in (True, "by row"):
        check(translator, source, [4], noise=how)
    classifier = r.sequence_classifier(SIZE, layer, input_size=SIZE)
    check(classifier, batch._replace(targets=batch.targets[0]), [2, 4], noise="by row")


def tables() -> None:
    """Optimisers that touch the used rows of tables only, and words drawn for a whole batch."""
    words = 40  # of which no batch uses all
    plain = r.language_model(words, LSTM, embedding_size=3)
    sampled = r.language_model(words, LSTM, embedding_size=3, readout=r.sampled_softmax(7))
    for model in (plain, sampled):
        for optimizer in (r.lazy(optax.adam(0.1)), r.sgd(0.1, clip=0.1), r.lazy(r.sgd(0.1))):
            for masked in (False, True):
                check(model, batch_for(IDS, masked=masked), [4], optimizer=optimizer)
    summed = partial(r.cross_entropy, reduction="sum")
    lazily = r.lazy(optax.chain(optax.clip_by_global_norm(0.1), optax.adam(0.1)))
    check(sampled, batch_for(IDS), [2, 8], optimizer=lazily, loss=summed, summed=True)


def single() -> None:
    """In float32, and in products of bfloat16."""
    for how in (True, "by row"):
        check(NOISY, batch_for(IDS), (2, 8), noise=how, rtol=1e-6, optimizer=r.sgd(0.1))
    check(r.mixed_precision(NOISY), batch_for(IDS), [2], rtol=2**-7, optimizer=r.sgd(0.1))


def skipped() -> None:
    """A loss that is not finite on one device is skipped on all."""
    model = r.sequence_tagger(SIZE, LSTM, input_size=SIZE)
    params = model.init(jax.random.key(0))
    state = r.init_train_state(model, OPTIMIZER, params, batch_shape=(B,))
    inputs = jnp.ones((T, B, SIZE)).at[0, 5].set(jnp.inf)
    step = over(4, r.make_train_step(model, OPTIMIZER, axis_name="data", skip_nonfinite=True))
    after, metrics = step(state, r.Batch(inputs, jnp.zeros((T, B), int)), jax.random.key(0))
    assert bool(metrics["skipped"])
    assert int(after.step) == 1
    assert_close(jax.device_get(after[:3]), jax.device_get(state[:3]))


def compiled() -> None:
    """One all-reduce a step, and none in the recurrence."""
    optimizer = optax.chain(optax.clip_by_global_norm(0.1), optax.adam(0.01))
    for layer in (LSTM, r.recurrent(r.lru(4)), r.recurrent(r.gru(4), backend="scan")):
        model = r.language_model(SIZE, r.serial(r.dropout(0.2), layer), embedding_size=3)
        state = r.init_train_state(model, optimizer, model.init(jax.random.key(0)))
        step = r.make_train_step(
            model, optimizer, axis_name="data", skip_nonfinite=True, noise="by row"
        )
        batch = batch_for(IDS)
        lowered = jax.jit(over(8, step)).lower(state, batch, jax.random.key(0))
        found = [one.loops for one in all_reduces(lowered.compile().as_text() or "")]
        assert found == [0], (layer, found)
        # In a block of many steps, the loop over them is around it, and no other.
        windows = Windows(*(jnp.zeros((2, T, B), int),) * 2)
        block = jitted_block(step, summed=False, limit=3, devices=devices_of(mesh(8)))
        bounds = jnp.array([0, 2], jnp.int32)
        lowered = block.lower(running(state), windows, *bounds, jax.random.key(0))
        found = [one.loops for one in all_reduces(lowered.compile().as_text() or "")]
        assert found == [1], (layer, found)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Labelled:
    """Batches of one's own: sequences ``[N, T, B]`` and their labels ``[N, B]``."""

    rows: Any
    labels: Any

    @property
    def count(self) -> int:
        return len(self.labels)

    @property
    def batch_size(self) -> int:
        return int(self.labels.shape[1])

    def visit(self, index: Any, consume: Any, state: Any) -> Any:
        return consume(state, r.Batch(self.rows[index], self.labels[index]))


def fits() -> None:
    """`fit` on a mesh, evaluation included, and what is resumed on another number of devices."""
    windows = r.training.consecutive(RNG.integers(0, SIZE, 130), B, 5)
    few = r.training.covering(RNG.integers(0, SIZE, 32), B, 5)  # 6 rows
    stream = sentence_stream(
        RNG.integers(0, SIZE, 128), np.arange(0, 129, 8), buckets=(4, 8), batch_size=B
    )
    summed = partial(r.cross_entropy, reduction="sum")
    plain = r.language_model(SIZE, LSTM)
    noisy = r.language_model(SIZE, r.serial(r.weight_drop(LSTM, 0.3), r.dropout(0.3)))
    resumed = ((2, 4), (2, 1), (2, None), (None, 2))
    fit_like_one(noisy, windows, resumed, validation=windows, stateful=True)
    fit_like_one(noisy, stream, validation=stream, loss=summed, summed=True)
    fit_like_one(plain, windows, validation=few, same=True)
    layer = r.serial(r.embedding(4), r.dropout(0.3), r.recurrent(r.gru(4)))
    classifier = r.sequence_classifier(SIZE, layer, input_size=SIZE)
    labels = windows.targets[:, -1]
    fit_like_one(
        classifier, Windows(windows.inputs, labels), validation=Windows(windows.inputs, labels)
    )
    fit_like_one(classifier, Labelled(windows.inputs, labels))
    fed = fed_windows(windows, 2)
    fit_like_one(noisy, windows, validation=windows, stateful=True, fed=fed)


def fit_like_one(
    model: Any, data: Any, resumed: Any = (), same: bool = False, fed: Any = None, **options: Any
) -> None:
    """Against one device, and with ``same`` without a mesh; resumed from some devices on others.

    With ``fed``, the same data in pieces, which several devices train on and evaluate.
    """

    def go(count: int | None, epochs: int, folder: Any = None) -> Any:
        pieces = fed if count not in (None, 1) else None
        read = data if pieces is None else pieces
        more = options if pieces is None else options | {"validation": pieces}
        state, history = r.fit(
            model, OPTIMIZER, read, key=jax.random.key(0), epochs=epochs, folder=folder,
            resume=folder is not None, mesh=None if count is None else mesh(count), **more,
        )  # fmt: skip
        rows = [(row["loss"], row["tokens"], row["train_loss"] or 0.0) for row in history.rows]
        state = jax.device_get((state.params, state.opt_state, state.carry, state.step))
        return state, rows, jax.device_get(history.best_params)

    on_one = go(1, 2)
    assert_close(go(8, 2), on_one, rtol=1e-12)
    begun_without = go(None, 2) if same or resumed else None
    if same:
        assert_close(on_one, begun_without, rtol=1e-12)
    for first, then in resumed:
        with tempfile.TemporaryDirectory() as folder:
            go(first, 1, folder)
            wanted = begun_without if first is None else on_one
            assert_close(go(then, 2, folder), wanted, rtol=1e-12)


def errors() -> None:
    """One sentence for each thing that cannot be."""
    model = r.language_model(SIZE, LSTM)
    data = r.training.consecutive(RNG.integers(0, SIZE, 400), 6, 5)
    go: Any = partial(r.fit, model, OPTIMIZER, data, key=jax.random.key(0), steps=1)
    with pytest.raises(ValueError, match="6 rows, which 4 devices cannot share evenly: use a mul"):
        go(mesh=mesh(4))
    with pytest.raises(ValueError, match="one axis, 'data'"):
        go(mesh=Mesh(np.array(jax.devices()), ("batch",)))
    with pytest.raises(ValueError, match="one axis, 'data'"):
        go(mesh=Mesh(np.array(jax.devices()).reshape(4, 2), ("data", "model")))
    with pytest.raises(ValueError, match=r"mesh must be a jax\.sharding\.Mesh"):
        go(mesh=4)
    total = partial(r.cross_entropy, reduction="sum")
    with pytest.raises(ValueError, match="the loss is a sum"):
        go(mesh=mesh(2), loss=total)
    go(mesh=jax.make_mesh((2,), ("data",)))  # with Explicit axes


def with_name(name: Any, *args: Any, **options: Any) -> None:
    try:
        check(*args, **options)
    except Exception as error:
        error.add_note(f"in {name}")
        raise


if __name__ == "__main__":
    globals()[sys.argv[1]]()
