"""Values, gradients and round trips against PyTorch, Keras and Flax, where they are installed."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnn_jax as r
from rnn_jax.interop import (
    from_flax,
    from_flax_tree,
    from_keras,
    from_torch,
    from_torch_model,
    load_keras,
    load_torch,
    load_torch_model,
    save_torch,
    to_flax,
    to_keras,
    to_torch,
)
from tests.interop.libraries import assert_equal, run, stacked, unstacked

T, B, D, H = 5, 3, 3, 4
RNG = np.random.default_rng(0)


def library(name: str) -> Any:
    """The module, or a skip; warnings raised by its import are ignored."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name)


def filled(params: Any) -> Any:
    """Random parameters in place of some, biases included."""
    return jax.tree.map(lambda p: jnp.asarray(RNG.normal(0, 0.7, p.shape), p.dtype), params)


TORCH_OPTIONS: list[tuple[str, dict[str, Any]]] = [
    *(
        (mode, {"num_layers": depth, "bidirectional": both})
        for mode in ("RNN", "GRU", "LSTM")
        for depth in (1, 2, 3)
        for both in (False, True)
    ),
    ("RNN", {"nonlinearity": "relu", "batch_first": True}),
    ("GRU", {"bias": False}),
    ("LSTM", {"bias": False, "num_layers": 2}),
    ("LSTM", {"proj_size": 2, "num_layers": 2, "bidirectional": True}),
]


# All in float64; in float32 only the shallowest and the deepest, which rounds the most.
TORCH_CASES = [
    *((*case, True) for case in TORCH_OPTIONS),
    *(
        (mode, {"num_layers": depth, "bidirectional": depth == 3}, False)
        for mode in ("RNN", "GRU", "LSTM")
        for depth in (1, 3)
    ),
]


@pytest.mark.parametrize("mode, options, wide", TORCH_CASES, ids=str)
def test_torch_values_and_gradients(mode: str, options: dict[str, Any], wide: bool) -> None:
    torch = library("torch")
    torch.manual_seed(0)
    dtype = torch.float64 if wide else torch.float32
    module = getattr(torch.nn, mode)(D, H, **{**options, "batch_first": False}, dtype=dtype)
    lengths = torch.tensor([T, 1, 3])
    xs = torch.randn(T, B, D, dtype=dtype, requires_grad=True)
    rows = module.num_layers * (1 + module.bidirectional)
    sizes = [module.proj_size or H, H][: 2 if mode == "LSTM" else 1]
    states = [torch.randn(rows, B, s, dtype=dtype, requires_grad=True) for s in sizes]
    packed = torch.nn.utils.rnn.pack_padded_sequence(xs, lengths, enforce_sorted=False)
    ys, final = module(packed, tuple(states) if mode == "LSTM" else states[0])
    finals = final if mode == "LSTM" else (final,)
    ys, _ = torch.nn.utils.rnn.pad_packed_sequence(ys)
    w, vs = torch.randn_like(ys), [torch.randn_like(f) for f in finals]
    ((w * ys).sum() + sum((v * f).sum() for v, f in zip(vs, finals, strict=True))).backward()

    with jax.enable_x64(wide):
        layer, params = from_torch(module)
        carry, v = (unstacked(layer, [a.detach().numpy() for a in s]) for s in (states, vs))
        mask = r.length_mask(lengths.numpy(), T)
        (dparams, dcarry, dxs), (our_ys, our_final) = run(
            layer, params, carry, jnp.asarray(xs.detach().numpy()), mask, w.numpy(), v
        )
        gradients, back = to_torch(layer, dparams), to_torch(layer, params)
    assert_equal(our_ys, ys.detach())
    assert_equal(dxs, xs.grad)
    for ours, theirs in zip(stacked(layer, our_final), finals, strict=True):
        assert_equal(ours, theirs.detach())
    for ours, theirs in zip(stacked(layer, dcarry), states, strict=True):
        assert_equal(ours, theirs.grad)
    assert gradients.keys() == back.keys() == module.state_dict().keys()
    for name, weights in module.named_parameters():
        assert_equal(gradients[name], weights.grad)
        np.testing.assert_array_equal(back[name], weights.detach())


@pytest.mark.parametrize("kind, mode", [(None, "RNN"), (None, "LSTM"), ("gru", "GRU")])
def test_a_torch_cell_is_a_layer_and_back(kind: Any, mode: str) -> None:
    """By the module, or by its state dict and ``kind=``."""
    torch = library("torch")
    torch.manual_seed(0)
    cell = getattr(torch.nn, f"{mode}Cell")(D, H, dtype=torch.float64)
    xs = torch.randn(T, B, D, dtype=torch.float64)
    layer: Any
    ys, state = [], None
    with torch.no_grad():
        for x in xs:
            state = cell(x, state)
            ys.append(state[0] if mode == "LSTM" else state)
    with jax.enable_x64(True):
        layer, params = from_torch(cell.state_dict() if kind else cell, kind=kind)
        assert_equal(layer.apply(params, None, jnp.asarray(xs.numpy()))[1], torch.stack(ys))
        back = to_torch(layer.cell, params)  # a layer would have its names
    assert back.keys() == cell.state_dict().keys()
    for name, weights in cell.state_dict().items():
        np.testing.assert_array_equal(back[name], weights)


def test_torch_modules_files_and_memory(tmp_path: Path) -> None:
    torch = library("torch")
    load_file = library("safetensors.torch").load_file
    module = torch.nn.LSTM(D, H, num_layers=2, dropout=0.25)
    layer, params = from_torch(module)
    assert layer == r.serial(
        r.recurrent(r.lstm(H, recurrent_bias=True)),
        r.dropout(0.25),
        r.recurrent(r.lstm(H, recurrent_bias=True)),
    )
    save_torch(tmp_path / "lstm.safetensors", layer, params)
    module.load_state_dict(load_file(tmp_path / "lstm.safetensors"))
    again = load_torch(tmp_path / "lstm.safetensors", kind="lstm", dropout_rate=0.25)
    assert again[0] == layer
    jax.tree.map(np.testing.assert_array_equal, again[1], params)
    # What PyTorch updates in place, and what it is given, does not share our memory.
    before = jax.tree.map(lambda leaf: np.array(leaf), params)
    arrays = to_torch(layer, params)
    with torch.no_grad():
        for weights in module.parameters():
            weights.add_(1)
        for array in arrays.values():
            torch.from_numpy(array).add_(1)
    jax.tree.map(np.testing.assert_array_equal, params, before)
    _, half = from_torch(module.to(torch.bfloat16))
    assert {leaf.dtype for leaf in jax.tree.leaves(half)} == {jnp.dtype(jnp.bfloat16)}


def test_torch_takes_our_forget_bias_and_missing_biases() -> None:
    torch = library("torch")
    layer = r.serial(
        r.recurrent(r.lstm(H, forget_bias=1.0, bias=False)),
        r.dropout(0.5),
        r.recurrent(r.lstm(H, recurrent_bias=True)),
    )
    params = filled(layer.init(jax.random.key(0), D))
    module = torch.nn.LSTM(D, H, num_layers=2)
    module.load_state_dict({k: torch.from_numpy(v) for k, v in to_torch(layer, params).items()})
    xs = RNG.normal(size=(T, B, D)).astype(np.float32)
    ys, _ = module(torch.from_numpy(xs))
    assert_equal(layer.apply(params, None, jnp.asarray(xs))[1], ys.detach())


# NumPy 2 deprecates how Keras' variables become arrays.
quiet = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture
def keras() -> Iterator[Any]:
    """Keras on JAX, whose own code promotes ranks."""
    keras = library("keras")
    with jax.numpy_rank_promotion("allow"):
        yield keras


KERAS_OPTIONS: list[tuple[str, dict[str, Any], str | None]] = [
    ("SimpleRNN", {}, None),
    ("SimpleRNN", {"activation": "sigmoid", "use_bias": False}, None),
    ("SimpleRNN", {"activation": "linear"}, None),
    ("GRU", {"reset_after": True}, None),
    ("GRU", {"reset_after": True, "use_bias": False}, None),
    ("GRU", {"reset_after": True}, "concat"),
    ("GRU", {"reset_after": False, "go_backwards": True}, None),
    ("LSTM", {"recurrent_dropout": 0.5}, None),
    ("LSTM", {"use_bias": False}, "sum"),
]


@quiet
@pytest.mark.parametrize("name, options, merge", KERAS_OPTIONS, ids=str)
def test_keras_values_and_round_trip(
    keras: Any, name: str, options: dict[str, Any], merge: str | None
) -> None:
    theirs = getattr(keras.layers, name)(
        H, return_sequences=True, zero_output_for_mask=True, **options
    )
    if merge is not None:
        theirs = keras.layers.Bidirectional(theirs, merge_mode=merge)
    theirs.build((B, T, D))
    theirs.set_weights([RNG.normal(0, 0.7, weights.shape) for weights in theirs.get_weights()])
    xs, lengths = RNG.normal(size=(B, T, D)).astype(np.float32), np.array([T, 0, 3])
    mask = r.length_mask(jnp.asarray(lengths), T)
    expected = np.asarray(theirs(xs, mask=np.asarray(mask).T))
    if "go_backwards" in options:
        expected = expected[:, ::-1]
    layer, params = from_keras(theirs)
    _, ys = layer.apply(
        params, layer.initial_carry((B,)), jnp.asarray(xs.swapaxes(0, 1)), mask=mask
    )
    assert_equal(ys.swapaxes(0, 1), expected)
    for ours, weights in zip(to_keras(layer, params), theirs.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, weights)


@quiet
def test_keras_takes_our_biases(keras: Any) -> None:
    xs = RNG.normal(size=(T, B, D)).astype(np.float32)
    for cell, theirs in (
        (r.elman(H, recurrent_bias=True), keras.layers.SimpleRNN),
        (r.lstm(H, forget_bias=1.0, recurrent_bias=True), keras.layers.LSTM),
        (r.gru(H, recurrent_bias=False), keras.layers.GRU),
    ):
        params = filled(cell.init(jax.random.key(0), D))
        there = theirs(H, return_sequences=True)
        there.build((B, T, D))
        there.set_weights(to_keras(r.recurrent(cell), params))
        ys = r.unroll(cell, params, None, jnp.asarray(xs))[1]
        assert_equal(ys.swapaxes(0, 1), there(xs.swapaxes(0, 1)))


CELLS: dict[str, r.Cell] = {
    "SimpleCell": r.elman(H, recurrent_bias=True),
    "GRUCell": r.gru(H),
    "LSTMCell": r.lstm(H, forget_bias=1.0, recurrent_bias=True),
    "OptimizedLSTMCell": r.lstm(H, bias=False),
}


def steps(call: Any, carry: Any, xs: Any) -> Any:
    """The outputs of a Flax cell, step by step."""
    ys = []
    for x in xs:
        carry, y = call(carry, x)
        ys.append(y)
    return np.stack(ys)


@pytest.mark.parametrize("name", CELLS)
def test_linen(name: str) -> None:
    linen = library("flax.linen")
    theirs = getattr(linen, name)(H)
    xs = jnp.asarray(RNG.normal(size=(T, B, D)), jnp.float32)
    carry = theirs.initialize_carry(jax.random.key(0), xs.shape[1:])
    variables = filled(theirs.init(jax.random.key(1), carry, xs[0]))
    layer, params = from_flax(theirs, variables)
    ys = layer.apply(params, layer.initial_carry((B,)), xs)[1]
    assert_equal(ys, steps(lambda c, x: theirs.apply(variables, c, x), carry, xs))
    jax.tree.map(np.testing.assert_array_equal, to_flax(layer, params), variables["params"])
    # Also a cell of ours, whose biases are added up.
    cell = CELLS[name]
    params = filled(cell.init(jax.random.key(2), D))
    variables = {"params": to_flax(cell, params)}
    ys = r.unroll(cell, params, None, xs)[1]
    assert_equal(ys, steps(lambda c, x: theirs.apply(variables, c, x), carry, xs))


@pytest.mark.parametrize("name", CELLS)
def test_nnx(name: str) -> None:
    nnx = library("flax.nnx")
    theirs = getattr(nnx, name)(D, H, rngs=nnx.Rngs(0))
    nnx.update(theirs, filled(nnx.state(theirs, nnx.Param)))
    xs = jnp.asarray(RNG.normal(size=(T, B, D)), jnp.float32)
    carry = theirs.initialize_carry(xs.shape[1:], nnx.Rngs(0))
    layer, params = from_flax(theirs)
    ys = layer.apply(params, layer.initial_carry((B,)), xs)[1]
    assert_equal(ys, steps(theirs, carry, xs))
    kind: Any = "nnx-optimized" if name.startswith("Optimized") else "nnx"
    expected = nnx.to_pure_dict(nnx.state(theirs, nnx.Param))
    jax.tree.map(np.testing.assert_array_equal, to_flax(layer, params, kind=kind), expected)
    cell = CELLS[name] if name != "GRUCell" else r.gru(H, recurrent_bias=False)
    params = filled(cell.init(jax.random.key(2), D))
    nnx.update(theirs, to_flax(cell, params, kind=kind))
    assert_equal(r.unroll(cell, params, None, xs)[1], steps(theirs, carry, xs))


def test_flax_trees() -> None:
    """Linen's variables of a model, and nnx's state of a layer in both directions."""
    linen, nnx = library("flax.linen"), library("flax.nnx")
    model = linen.Sequential([linen.Embed(7, D), linen.RNN(linen.GRUCell(H)), linen.Dense(7)])
    ids = jnp.asarray(RNG.integers(0, 7, (B, T)))
    variables = filled(model.init(jax.random.key(0), ids))
    ours: Any
    ours, params = from_flax_tree(variables)
    assert ours == r.language_model(7, r.recurrent(r.gru(H)), embedding_size=D)
    _, logits = ours.apply(params, None, ids.T)
    assert_equal(logits.swapaxes(0, 1), model.apply(variables, ids))
    rngs = nnx.Rngs(0)
    halves = [nnx.RNN(nnx.OptimizedLSTMCell(D, H, rngs=rngs)) for _ in range(2)]
    theirs = nnx.Bidirectional(*halves)
    xs = jnp.asarray(RNG.normal(size=(B, T, D)), jnp.float32)
    layer, params = from_flax_tree(nnx.to_pure_dict(nnx.state(theirs, nnx.Param)))
    _, ys = layer.apply(params, None, xs.swapaxes(0, 1))
    assert_equal(ys.swapaxes(0, 1), theirs(xs))
    two = {"a": variables["params"], "b": variables["params"]}
    with pytest.raises(ValueError, match=r"its recurrent cells are a\..*, b\..*: pass the part"):
        from_flax_tree(two)


def test_torch_models_and_their_files(tmp_path: Path) -> None:
    """By the module, its state dict, and a ``.pt`` file, of tied weights, in bfloat16."""
    torch = library("torch")
    torch.manual_seed(0)

    class Model(torch.nn.Module):  # type: ignore[name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.embedding = torch.nn.Embedding(7, H)
            self.rnn = torch.nn.GRU(H, H, num_layers=2)
            self.decoder = torch.nn.Linear(H, 7)
            self.decoder.weight = self.embedding.weight

        def forward(self, ids: Any) -> Any:
            return self.decoder(self.rnn(self.embedding(ids))[0])

    module = Model()
    ids = torch.randint(7, (T, B))
    torch.save({"step": 1, "model": module.state_dict()}, tmp_path / "a.pt")
    ours: Any
    for source in (module, module.state_dict(), None):
        model = load_torch_model(tmp_path / "a.pt") if source is None else from_torch_model(source)
        ours, params = model
        assert ours.tied
        assert_equal(ours.apply(params, None, jnp.asarray(ids.numpy()))[1], module(ids).detach())
    torch.save(module.to(torch.bfloat16).state_dict(), tmp_path / "b.pt")
    _, half = load_torch_model(tmp_path / "b.pt")
    jax.tree.map(np.testing.assert_array_equal, half, from_torch_model(module)[1])
    assert {leaf.dtype for leaf in jax.tree.leaves(half)} == {jnp.dtype(jnp.bfloat16)}


@quiet
def test_keras_files(keras: Any, tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((T,)),
            layers.Embedding(7, D),
            layers.GRU(H, return_sequences=True),
            layers.LSTM(H, return_sequences=True),
            layers.Dense(7, activation="softmax"),
        ]
    )
    model.save(tmp_path / "a.keras")
    ours: Any
    ours, params = load_keras(tmp_path / "a.keras")
    assert isinstance(ours, r.LanguageModel)
    ids = RNG.integers(0, 7, (B, T))
    _, logits = ours.apply(params, None, jnp.asarray(ids.T))
    assert_equal(jax.nn.softmax(logits).swapaxes(0, 1), model(ids))


@quiet
def test_what_does_not_map_is_named(keras: Any) -> None:
    torch, linen, nnx = (library(name) for name in ("torch", "flax.linen", "flax.nnx"))
    lstm_cell = linen.LSTMCell(H, gate_fn=jnp.tanh)
    built = keras.layers.LSTM(H, activation="relu")
    built.build((B, T, D))
    merged = keras.layers.Bidirectional(keras.layers.GRU(H), merge_mode="mul")
    merged.build((B, T, D))
    for call, message in (
        (lambda: from_torch(torch.nn.Linear(3, 3)), "takes an nn.RNN, nn.GRU or nn.LSTM"),
        (lambda: from_keras(keras.layers.Dense(3)), "not Dense"),
        (lambda: from_keras(keras.layers.GRU(3)), "has no weights yet"),
        (lambda: from_keras(built), "activation 'relu' and recurrent activation 'sigmoid'"),
        (lambda: from_keras(merged), "not 'mul'"),
        (lambda: from_flax(linen.MGUCell(3), {}), "not MGUCell"),
        (lambda: from_flax(lstm_cell, {}), "activations are tanh and sigmoid"),
        (lambda: from_flax(linen.GRUCell(3)), "not the parameters of linen's GRUCell"),
        (lambda: from_flax(linen.SimpleCell(3, residual=True), {}), "residual=True"),
        (lambda: from_flax(nnx.Linear(3, 3, rngs=nnx.Rngs(0))), "not Linear"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
