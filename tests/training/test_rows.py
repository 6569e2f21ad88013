"""Steps that read and write the used rows of tables only, beside dense steps, in float64."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rnn_jax as r
from rnn_jax.arrays.paths import at_path, replace_at
from rnn_jax.layers.base import adapted
from tests.cases import QUICK

pytestmark = pytest.mark.usefixtures("x64")

WORDS = 13
LAYER = r.recurrent(r.gru(4))
MODELS: dict[str, Any] = {
    "one-hot": r.language_model(WORDS, LAYER),
    "embedding": r.language_model(WORDS, LAYER, embedding_size=3, bias=False),
    "tied": r.language_model(WORDS, LAYER, embedding_size=4, tied=True),
    "truncated": r.truncate(r.language_model(WORDS, LAYER), r.sliding(1)),
    "classes": r.sequence_tagger(WORDS, LAYER, input_size=WORDS),
    "sampled": r.language_model(WORDS, LAYER, embedding_size=3, readout=r.sampled_softmax(5)),
    "sampled, no bias": r.language_model(
        WORDS, LAYER, bias=False, readout=r.sampled_softmax(WORDS)
    ),
}
OPTIMIZERS: dict[str, Any] = {
    "adam": optax.adam(0.1),
    "clipped momentum": optax.chain(
        optax.clip_by_global_norm(0.1), optax.sgd(0.1, momentum=0.9, nesterov=True)
    ),
    "scheduled adamw": optax.inject_hyperparams(partial(optax.adamw, weight_decay=0.1))(
        learning_rate=optax.piecewise_constant_schedule(0.1, {2: 0.5})
    ),
    "rmsprop": optax.rmsprop(0.1, momentum=0.5, centered=True),
}


def batches(masked: bool, count: int = 4) -> list[r.Batch]:
    """Of few words, so that each batch uses some of them twice and others not at all."""
    rng = np.random.default_rng(1)
    made = []
    for _ in range(count):
        inputs, targets = rng.integers(0, WORDS, (2, 4, 2))
        mask = jnp.asarray(rng.random((4, 2)) < 0.6) if masked else None
        made.append(r.Batch(jnp.asarray(inputs), jnp.asarray(targets), mask))
    return made


def begun(model: Any, optimizer: Any) -> r.TrainState:
    params = jax.tree.map(lambda p: p.astype(float), model.init(jax.random.key(0)))
    return r.init_train_state(model, optimizer, params)


def key_of(model: Any, index: int) -> Any:
    return jax.random.key(index) if getattr(model, "readout", None) else None


def trained(model: Any, optimizer: Any, data: list[r.Batch], **options: Any) -> r.TrainState:
    step = jax.jit(r.make_train_step(model, optimizer, **options), compiler_options=QUICK)
    state = begun(model, optimizer)
    for index, batch in enumerate(data):
        state, _ = step(state, batch, key=key_of(model, index))
    return state


def tables_of(model: Any, batch: r.Batch, key: Any) -> dict[tuple[str, ...], set[int]]:
    """The tables of a model, and which of their rows a batch uses."""
    mask = np.ones(batch.inputs.shape, bool) if batch.mask is None else np.asarray(batch.mask)
    found = {}
    table, apart = adapted(model).input_table, adapted(model).apart
    if table is not None:
        found[table] = set(np.asarray(batch.inputs)[mask].tolist())
    if key is not None and apart is not None and apart.draw is not None:
        drawn = apart.draw(key, batch.targets, batch.mask)
        flags = np.ones(len(drawn.ids), bool) if drawn.mask is None else np.asarray(drawn.mask)
        words = set(np.asarray(drawn.ids)[flags].tolist())
        found |= {path: words for path in apart.tables if path[-1] in "wb"}
    return found


def by_hand(model: Any, optimizer: Any, data: list[r.Batch]) -> r.TrainState:
    """The dense step, after which the rows that were not used get their old values back.

    Slow and obvious: everything that has the shape of the parameters, the optimiser's moments
    included, is put back row by row.
    """
    dense = jax.jit(r.make_train_step(model, optimizer), compiler_options=QUICK)
    state = begun(model, optimizer)
    for index, batch in enumerate(data):
        key = key_of(model, index)
        new, _ = dense(state, batch, key=key)
        for path, words in tables_of(model, batch, key).items():
            if path[-1] == "b" and "b" not in at_path(state.params, path[:-1]):
                continue
            unused = np.array(sorted(set(range(WORDS)) - words), int)

            def put_back(new: Any, old: Any, path: Any = path, unused: Any = unused) -> Any:
                rows = at_path(new, path).at[unused].set(at_path(old, path)[unused])
                return replace_at(new, path, rows)

            def params_like(tree: Any, params: Any = state.params) -> bool:
                own: Any = jax.tree.structure(params)
                return bool(jax.tree.structure(tree) == own)

            opt_state = jax.tree.map(
                lambda a, b: put_back(a, b) if params_like(a) else a,
                new.opt_state,
                state.opt_state,
                is_leaf=params_like,
            )
            new = new._replace(params=put_back(new.params, state.params), opt_state=opt_state)
        state = new
    return state


def norm_of(tree: Any) -> float:
    return float(sum(jnp.vdot(leaf, leaf) for leaf in jax.tree.leaves(tree))) ** 0.5


def same(got: Any, want: Any) -> None:
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13), got, want)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_clipped_descent_is_the_dense_one(name: str, masked: bool) -> None:
    data = batches(masked)
    dense = optax.chain(optax.clip_by_global_norm(0.3), optax.sgd(0.5))
    got = trained(MODELS[name], r.sgd(0.5, clip=0.3), data)
    same(got.params, trained(MODELS[name], dense, data).params)


def test_a_row_that_is_used_twice_counts_once_in_the_norm() -> None:
    model = MODELS["embedding"]
    ids = jnp.full((4, 2), 3)
    data = [r.Batch(ids, ids + 1)]
    grads = jax.grad(lambda p: r.cross_entropy(model.apply(p, None, ids)[1], ids + 1))
    norm = norm_of(grads(begun(model, optax.sgd(1.0)).params))
    state = begun(model, optax.sgd(1.0))
    for clip, factor in [(norm * 1.001, 1.0), (norm / 2, 0.5)]:
        moved = trained(model, r.sgd(1.0, clip=clip), data)
        change = jax.tree.map(jnp.subtract, moved.params, state.params)
        np.testing.assert_allclose(norm_of(change), factor * norm, rtol=1e-12)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("name", MODELS)
def test_lazy_leaves_alone_what_a_batch_does_not_use(name: str, kind: str, masked: bool) -> None:
    data = batches(masked)
    got = trained(MODELS[name], r.lazy(OPTIMIZERS[kind]), data)
    want = by_hand(MODELS[name], OPTIMIZERS[kind], data)
    same((got.params, got.opt_state), (want.params, want.opt_state))


@pytest.mark.parametrize("dense", [optax.adagrad(0.3), r.sgd(0.3), r.sgd(0.3, clip=0.1)])
def test_lazy_is_dense_where_a_zero_gradient_changes_nothing(dense: Any) -> None:
    data = batches(True)
    got = trained(MODELS["embedding"], r.lazy(dense), data)
    same(got.params, trained(MODELS["embedding"], optax.chain(dense), data).params)


@pytest.mark.parametrize("optimizer", [r.lazy(optax.adam(0.1)), r.sgd(0.1, clip=1.0)])
def test_a_skipped_step_leaves_rows_and_moments(optimizer: Any) -> None:
    model = MODELS["embedding"]
    state = begun(model, optimizer)
    step = jax.jit(r.make_train_step(model, optimizer, skip_nonfinite=True), compiler_options=QUICK)
    good, bad = batches(False, 2)
    state, _ = step(state, good)
    outside = bad._replace(inputs=bad.inputs.at[0, 0].set(WORDS))
    after, metrics = step(state, outside)
    assert metrics["skipped"] and np.isnan(metrics["loss"])
    same((after.params, after.opt_state), (state.params, state.opt_state))


def test_ids_outside_the_vocabulary_are_refused_or_nan() -> None:
    model, optimizer = MODELS["embedding"], r.lazy(optax.adam(0.1))
    step = r.make_train_step(model, optimizer)
    for bad in (-1, WORDS):
        batch = batches(False, 1)[0]
        batch = batch._replace(inputs=batch.inputs.at[0, 0].set(bad))
        with pytest.raises(ValueError, match="outside the vocabulary"):
            step(begun(model, optimizer), batch)
        _, metrics = jax.jit(step, compiler_options=QUICK)(begun(model, optimizer), batch)
        assert np.isnan(metrics["loss"])


def test_the_largest_id_is_no_word_either() -> None:
    model = MODELS["embedding"]
    batch = batches(False, 1)[0]
    batch = batch._replace(inputs=batch.inputs.at[0, 0].set(2**31 - 1))
    for optimizer in (r.sgd(0.1), r.sgd(0.1, clip=1.0), r.lazy(optax.adam(0.1))):
        step = jax.jit(r.make_train_step(model, optimizer), compiler_options=QUICK)
        assert np.isnan(step(begun(model, optimizer), batch)[1]["loss"])


@pytest.mark.parametrize("optimizer", [r.sgd(0.1), r.sgd(0.1, clip=1.0), r.lazy(optax.sgd(0.1))])
def test_the_state_of_another_optimiser_is_one_sentence(optimizer: Any) -> None:
    model = MODELS["embedding"]
    with pytest.raises(ValueError, match="opt_state is not one of this optimiser"):
        r.make_train_step(model, optimizer)(begun(model, optax.adam(0.1)), batches(False, 1)[0])


def test_lazy_refuses_what_does_not_go_row_by_row() -> None:
    model = r.language_model(300, LAYER, embedding_size=128)
    several = optax.MultiSteps(optax.sgd(0.1), 2).gradient_transformation()
    for optimizer, message in (
        (several, "accumulated gradients and averages"),
        (r.ema(r.sgd(0.1), 0.9), "accumulated gradients and averages"),
        (optax.adafactor(0.1), "whose moments have the shape of the parameters"),
        (
            optax.partition(
                {"all": optax.adam(0.1)}, lambda p: {**jax.tree.map(lambda _: "all", p)}
            ),
            "cannot tell the moments",
        ),
    ):
        lazily = r.lazy(optimizer)
        with pytest.raises(ValueError, match=message):
            r.make_train_step(model, lazily)(begun(model, lazily), batches(False, 1)[0])


def test_many_steps_in_one_call_are_as_many_calls() -> None:
    model, optimizer = MODELS["sampled"], r.lazy(optax.adam(0.1))
    data = batches(False)
    stacked = r.Windows(
        jnp.stack([batch.inputs for batch in data]), jnp.stack([batch.targets for batch in data])
    )
    step = r.make_train_step(model, optimizer)
    key = jax.random.key(5)
    state = begun(model, optimizer)
    jitted = jax.jit(step, compiler_options=QUICK)
    for index, batch in enumerate(data):
        state, _ = jitted(state, batch, key=jax.random.fold_in(key, index))
    many, _ = r.make_train_steps(step)(begun(model, optimizer), stacked, 0, len(data), key)
    same(many.params, state.params)


def test_lazy_is_the_optimiser_itself_or_nothing() -> None:
    with pytest.raises(ValueError, match="lazy already"):
        r.lazy(r.lazy(optax.adam(0.1)))
    with pytest.raises(ValueError, match="an optax optimiser"):
        r.lazy(0.1)
    model = MODELS["embedding"]
    for within in (optax.chain(r.lazy(optax.adam(0.1))), r.ema(r.lazy(optax.adam(0.1)), 0.9)):
        with pytest.raises(ValueError, match="put it around the others"):
            trained(model, within, batches(False, 1))
    for clip in (0.0, -1.0, float("inf"), "1"):
        with pytest.raises(ValueError, match="clip must be a positive number"):
            r.sgd(0.1, clip=clip)  # type: ignore[arg-type]


def test_a_gradient_as_large_as_the_table_is_held_by_dense_steps_only() -> None:
    words = 100_000
    model = r.language_model(words, LAYER, embedding_size=8, readout=r.sampled_softmax(20))
    batch = r.Batch(jnp.zeros((4, 2), int), jnp.ones((4, 2), int))

    def temporaries(optimizer: Any) -> int:
        state = jax.eval_shape(partial(begun, model, optimizer))
        step = jax.jit(r.make_train_step(model, optimizer), donate_argnums=0)
        compiled = step.lower(state, batch, key=jax.random.key(0)).compile()
        return int(compiled.memory_analysis().temp_size_in_bytes)  # type: ignore[union-attr]

    table = words * 8 * 8
    assert temporaries(optax.adam(0.1)) > table
    for optimizer in (r.lazy(optax.adam(0.1)), r.sgd(0.1), r.sgd(0.1, clip=1.0)):
        assert temporaries(optimizer) < table / 10


def test_torch_sparse_adam_takes_the_same_steps() -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(3)
    start = rng.normal(size=(7, 3))
    table = torch.nn.Embedding(7, 3, sparse=True, dtype=torch.float64)
    table.load_state_dict({"weight": torch.tensor(start)})
    # Theirs adds ε before the bias is corrected, ours behind it: so small that neither is seen.
    theirs = torch.optim.SparseAdam(table.parameters(), lr=0.1, eps=1e-30)
    model = r.serial(r.Embedding(3))
    optimizer = r.lazy(optax.adam(0.1, eps=1e-30))
    params = {"0": {"embedding": jnp.asarray(start)}}
    state = r.init_train_state(model, optimizer, params)  # type: ignore[arg-type]

    def loss(outputs: Any, targets: Any, *, mask: Any) -> Any:
        return (outputs * targets).sum()

    step = r.make_train_step(model, optimizer, loss=loss)  # type: ignore[arg-type]
    for _ in range(4):
        ids, factors = rng.integers(0, 7, (2, 2)), rng.normal(size=(2, 2, 3))
        theirs.zero_grad()
        (table(torch.tensor(ids)) * torch.tensor(factors)).sum().backward()
        theirs.step()
        state, _ = step(state, r.Batch(jnp.asarray(ids), jnp.asarray(factors)))
    got = state.params["0"]["embedding"]
    np.testing.assert_allclose(got, table.weight.detach().numpy(), rtol=1e-10)
