"""Writes what PyTorch and Keras compute beside this file, for `tests/interop/test_golden.py`.

Run by hand, with both libraries installed, when a case is added:

    KERAS_BACKEND=jax python tests/golden/make_golden.py

Each ``.npz`` holds weights, inputs, lengths and initial states, then outputs, final states,
and the gradients of ``Σ w·ys + Σ v·final`` with respect to all that went in. Arrays are in the
library's own layout: time-major for PyTorch, batch-major for Keras. PyTorch's are float64; Keras'
are float32, because its sums of float64 are. ``next-token.npz`` is a whole Keras model instead, the
many-to-one LSTM of the recipe of that name: its forward pass and three steps of RMSprop.
``adaptive-softmax.npz`` is PyTorch's ``AdaptiveLogSoftmaxWithLoss``, for
`tests/models/test_adaptive_softmax.py`.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import jax
import numpy as np

FOLDER = Path(__file__).parent
T, B, D, H = 6, 3, 3, 4

TORCH: dict[str, tuple[str, dict[str, Any]]] = {
    f"torch-{kind.replace('_', '-')}-{form}": (kind, options)
    for kind in ("rnn_tanh", "gru", "lstm")
    for form, options in (("1", {}), ("2-bidirectional", {"num_layers": 2, "bidirectional": True}))
}
TORCH["torch-lstm-projected"] = ("lstm", {"proj_size": 2})

KERAS: dict[str, tuple[str, dict[str, Any]]] = {
    "keras-simple-rnn": ("SimpleRNN", {}),
    "keras-gru-reset-after": ("GRU", {"reset_after": True}),
    "keras-gru-reset-before": ("GRU", {"reset_after": False}),
    "keras-lstm": ("LSTM", {}),
}


def save(name: str, arrays: dict[str, Any]) -> None:
    """One file."""
    path = FOLDER / f"{name}.npz"
    np.savez_compressed(path, **arrays)
    print(f"{path.name}: {path.stat().st_size} bytes")


def torch_case(name: str, kind: str, options: dict[str, Any]) -> None:
    """PyTorch, with packed sequences; it takes none of length 0."""
    torch: Any = importlib.import_module("torch")  # as Any: type checks need neither library
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    mode, _, nonlinearity = kind.partition("_")
    if nonlinearity:
        options = {**options, "nonlinearity": nonlinearity}
    module = getattr(torch.nn, mode.upper())(D, H, **options)
    lengths = torch.tensor([T, 1, 4])
    xs = torch.randn(T, B, D, requires_grad=True)
    rows = module.num_layers * (2 if module.bidirectional else 1)
    sizes = [getattr(module, "proj_size", 0) or H, H][: 2 if kind == "lstm" else 1]
    states = [torch.randn(rows, B, size, requires_grad=True) for size in sizes]
    rnn = torch.nn.utils.rnn
    packed = rnn.pack_padded_sequence(xs, lengths, enforce_sorted=False)
    ys, final = module(packed, tuple(states) if len(states) == 2 else states[0])
    ys, _ = rnn.pad_packed_sequence(ys)
    finals = final if isinstance(final, tuple) else (final,)
    w, vs = torch.randn_like(ys), [torch.randn_like(state) for state in finals]
    ((w * ys).sum() + sum((v * f).sum() for v, f in zip(vs, finals, strict=True))).backward()
    arrays = {"lengths": lengths, "inputs": xs, "ys": ys, "w": w, "gradients/inputs": xs.grad}
    for i, (state, final, v) in enumerate(zip(states, finals, vs, strict=True)):
        arrays |= {f"initial/{i}": state, f"final/{i}": final, f"v/{i}": v}
        arrays[f"gradients/initial/{i}"] = state.grad
    for key, weights in module.named_parameters():
        arrays |= {f"weights/{key}": weights, f"gradients/weights/{key}": weights.grad}
    save(name, {key: tensor.detach().numpy() for key, tensor in arrays.items()} | {"kind": kind})


def adaptive_softmax_arrays(seed: int = 0) -> dict[str, Any]:
    """PyTorch's adaptive softmax of 23 words: log-probabilities, outputs, loss and gradients."""
    torch: Any = importlib.import_module("torch")
    torch.manual_seed(seed)
    module = torch.nn.AdaptiveLogSoftmaxWithLoss(
        12, 23, cutoffs=[3, 8, 9], div_value=2.0, head_bias=True, dtype=torch.float64
    )
    inputs = torch.randn(60, 12, dtype=torch.float64, requires_grad=True)
    targets = torch.cat([torch.arange(23), torch.randint(23, (37,))])
    output, loss = module(inputs, targets)
    loss.backward()
    arrays = {
        "inputs": inputs, "targets": targets, "log_prob": module.log_prob(inputs),
        "output": output, "loss": loss, "gradients/inputs": inputs.grad,
    }  # fmt: skip
    for key, weights in module.named_parameters():
        arrays |= {f"weights/{key}": weights, f"gradients/weights/{key}": weights.grad}
    return {key: tensor.detach().numpy() for key, tensor in arrays.items()}


def keras_case(name: str, kind: str, options: dict[str, Any]) -> None:
    """Keras on JAX, with a mask; one row has length 0."""
    keras: Any = importlib.import_module("keras")
    if keras.backend.backend() != "jax":
        raise SystemExit("set KERAS_BACKEND=jax: the gradients are taken with JAX")
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> Any:
        return rng.normal(0, 0.7, shape).astype(np.float32)

    layer = getattr(keras.layers, kind)(
        H, return_sequences=True, return_state=True, zero_output_for_mask=True, **options
    )
    layer.build((B, T, D))
    weights = [normal(*array.shape) for array in layer.get_weights()]
    lengths = np.array([T, 0, 4])
    mask = np.arange(T)[None] < lengths[:, None]
    xs, w = normal(B, T, D), normal(B, T, H)
    count = 2 if kind == "LSTM" else 1
    states, vs = (list(normal(count, B, H)) for _ in range(2))

    def loss(weights: Any, xs: Any, states: Any) -> Any:
        # The layer's other variables are the seeds of dropout, of which there is none.
        (ys, *final), _ = layer.stateless_call(
            weights, [v.value for v in layer.non_trainable_variables], xs,
            initial_state=states, mask=mask,
        )  # fmt: skip
        total = (w * ys).sum() + sum((v * f).sum() for v, f in zip(vs, final, strict=True))
        return total, (ys, final)

    grad = jax.grad(loss, argnums=(0, 1, 2), has_aux=True)
    (dweights, dxs, dstates), (ys, final) = grad(weights, xs, states)
    arrays = {"lengths": lengths, "inputs": xs, "ys": ys, "w": w, "gradients/inputs": dxs}
    groups = {
        "initial": states, "final": final, "v": vs, "weights": weights,
        "gradients/initial": dstates, "gradients/weights": dweights,
    }  # fmt: skip
    for group, members in groups.items():
        arrays |= {f"{group}/{i}": array for i, array in enumerate(members)}
    save(name, {**arrays, "kind": kind})


def next_token_case() -> None:
    """Keras' LSTM and softmax over one window's next token: three steps of RMSprop."""
    keras: Any = importlib.import_module("keras")
    keras.utils.set_random_seed(0)
    vocab_size, batch = 7, 5
    layers = keras.layers
    model = keras.Sequential([layers.LSTM(H), layers.Dense(vocab_size, activation="softmax")])
    optimizer = keras.optimizers.RMSprop(learning_rate=0.01)
    model.compile(loss="categorical_crossentropy", optimizer=optimizer)
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, vocab_size, (3, batch, T + 1))
    one_hot = np.eye(vocab_size, dtype=np.float32)[tokens]
    model.build((batch, T, vocab_size))
    arrays: dict[str, Any] = {"tokens": tokens}
    arrays |= {f"before/{i}": array for i, array in enumerate(model.get_weights())}
    arrays["probabilities"] = model(one_hot[0, :, :-1])
    arrays["losses"] = [model.train_on_batch(rows[:, :-1], rows[:, -1]) for rows in one_hot]
    arrays |= {f"after/{i}": array for i, array in enumerate(model.get_weights())}
    save("next-token", arrays)


def main() -> None:
    """All files."""
    for name, case in TORCH.items():
        torch_case(name, *case)
    save("adaptive-softmax", adaptive_softmax_arrays())
    for name, case in KERAS.items():
        keras_case(name, *case)
    next_token_case()


if __name__ == "__main__":
    main()
