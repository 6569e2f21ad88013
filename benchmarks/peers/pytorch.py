"""PyTorch: `nn.RNN`, `nn.GRU`, `nn.LSTM`, eager; on a CPU with its own choice of threads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from benchmarks.implementation import Prepared, Unavailable
from benchmarks.workloads import Arrays, Recurrence

__all__ = ["PACKAGES", "build"]

PACKAGES = ("torch",)

_EQUATIONS = {"rnn": "rnn tanh", "gru": "gru reset after", "lstm": "lstm"}


@dataclass(frozen=True)
class _Torch:
    equations: str
    module: Any
    xs: Any
    weights: Any
    to_workload: Callable[[list[np.ndarray]], Arrays]
    synchronize: Callable[[], None]

    def prepare(self, pass_name: str) -> Prepared:
        import torch

        def forward() -> Any:
            with torch.inference_mode():
                ys, _ = self.module(self.xs)
            self.synchronize()
            return ys

        def forward_backward() -> Any:
            ys, _ = self.module(xs)
            loss = (ys * self.weights).sum()
            gradients = torch.autograd.grad(loss, [xs, *self.module.parameters()])
            self.synchronize()
            return loss.detach(), *gradients

        def both() -> Arrays:
            loss, by_xs, *by_params = (array.cpu().numpy() for array in forward_backward())
            return {"loss": loss, "xs": by_xs, **self.to_workload(by_params)}

        if pass_name == "forward":
            return Prepared(forward, lambda: {"ys": forward().cpu().numpy()})
        if pass_name == "forward+backward":
            xs = self.xs.clone().requires_grad_()
            return Prepared(forward_backward, both)
        raise Unavailable("eager: there is no call of many steps")


def build(name: str, workload: Recurrence, arrays: Arrays) -> _Torch:
    """Its two biases are the merged one and zero, but for the GRU's new gate, which has both."""
    import torch

    device = "cpu" if jax.default_backend() == "cpu" else "cuda"
    if device == "cuda" and not torch.cuda.is_available():
        raise Unavailable(f"this torch has no CUDA, and JAX runs on {jax.default_backend()}")
    size = workload.hidden
    kinds = {"rnn": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}
    module = kinds[workload.cell](workload.features, size)
    b_hh = np.zeros_like(arrays["b"])
    if "b_hn" in arrays:
        b_hh[2 * size :] = arrays["b_hn"]
    values = {
        "weight_ih_l0": arrays["w_ih"].T,
        "weight_hh_l0": arrays["w_hh"].T,
        "bias_ih_l0": arrays["b"],
        "bias_hh_l0": b_hh,
    }
    module.load_state_dict({key: torch.tensor(value) for key, value in values.items()})

    def to_workload(gradients: list[np.ndarray]) -> Arrays:
        w_ih, w_hh, b_ih, b_hh = gradients
        named = {"w_ih": w_ih.T, "w_hh": w_hh.T, "b": b_ih}
        return named | ({"b_hn": b_hh[2 * size :]} if "b_hn" in arrays else {})

    return _Torch(
        _EQUATIONS[workload.cell],
        module.to(device),
        torch.tensor(arrays["xs"], device=device),
        torch.tensor(arrays["weights"], device=device),
        to_workload,
        torch.cuda.synchronize if device == "cuda" else lambda: None,
    )
