"""PyTorch: `nn.RNN`, `nn.GRU`, `nn.LSTM`, eager, which on a GPU is cuDNN, or under `torch.compile`.

On a CPU it has its own number of threads or a single one, whichever is faster for the work at hand:
to hand a small product over costs more than it saves. `torch.compile` compiles what stands about
the layer; recurrent layers it leaves to PyTorch's own kernels, as is its default.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np

from benchmarks.measuring.implementation import TRIED, Prepared, Unavailable
from benchmarks.measuring.timing import fastest, seconds_of
from benchmarks.measuring.workloads import Arrays, Recurrence

__all__ = [
    "NOTE", "PACKAGES", "TorchLayer", "build", "device_of", "fastest_threads",
    "on_threads", "set_precision", "synchronizer", "tensor", "to_numpy",
]  # fmt: skip

PACKAGES = ("torch", "nvidia-cudnn-cu12", "nvidia-cudnn-cu13")
# What is not the same work, or chosen for it; for the page.
NOTE = (
    "has kernels of its own for whole sequences: on NVIDIA GPUs cuDNN's for all cells, on CPUs "
    "oneDNN's for the LSTM alone, so that its GRU and tanh go step by step there. Each gate has "
    "two biases; in layers both get a gradient, in language models that are trained the second "
    "is frozen, as two would be trained at twice the rate, but for the GRU's, of which ours are "
    "trained, too. It runs on its own number of threads or on one, under plain SGD with dense or "
    "sparse gradients of what is looked up, and with its optimiser in a loop, `foreach` or "
    "`fused`, whichever is faster when they are tried. It has no call of many steps. It is eager "
    "but for `torch-compile` in the grid and in `serving`, which leaves recurrent layers to "
    "their kernels, as is its default, and compiles the rest."
)


@dataclass(frozen=True)
class TorchLayer:
    """A recurrent module, its inputs and the loss's weights; ``to_workload`` names gradients."""

    equations: str
    module: Any
    xs: Any
    weights: Any
    to_workload: Callable[[list[np.ndarray]], Arrays]
    compiled: bool

    def prepare(self, pass_name: str) -> Prepared:
        start, result = self._pass(pass_name)
        synchronize = synchronizer(self.xs.device.type)

        def call() -> Any:
            done = start()
            synchronize()
            return done

        compile_s = seconds_of(call) if self.compiled else None
        tried = call
        if len(self.xs) > TRIED and not self.compiled:  # to compile once more takes long
            few = replace(self, xs=self.xs[:TRIED], weights=self.weights[:TRIED])
            tried, _ = few._pass(pass_name)
        threads = fastest_threads(tried)
        return Prepared(
            on_threads(call, threads),
            result,
            compile_s,
            peak_bytes=_peak_bytes(call, [self.xs, self.weights, *self.module.parameters()]),
            start=on_threads(start, threads),
            equations=self.equations,
            wait=lambda _: synchronize(),
            facts=lambda: {"threads": threads},
        )

    def _pass(self, pass_name: str) -> tuple[Callable[[], Any], Callable[[], Arrays]]:
        """What begins the pass, and what gives its results."""
        import torch

        xs = self.xs.clone().requires_grad_() if pass_name != "forward" else self.xs
        module = torch.compile(self.module) if self.compiled else self.module

        def forward() -> Any:
            with torch.inference_mode():
                return module(xs)[0]

        def forward_backward() -> Any:
            ys, _ = module(xs)
            loss = (ys * self.weights).sum()
            gradients = torch.autograd.grad(loss, [xs, *self.module.parameters()])
            return loss.detach(), *gradients

        def both() -> Arrays:
            loss, by_xs, *by_params = (to_numpy(array) for array in forward_backward())
            return {"loss": loss, "xs": by_xs, **self.to_workload(by_params)}

        passes = {
            "forward": (forward, lambda: {"ys": to_numpy(forward())}),
            "forward+backward": (forward_backward, both),
        }
        if pass_name not in passes:
            raise Unavailable("eager: there is no call of many steps")
        return passes[pass_name]


def build(name: str, workload: Recurrence, arrays: Arrays) -> TorchLayer:
    """Its two biases are the merged one and zero, but for the GRU's new gate, which has both."""
    import torch

    device = device_of()
    set_precision(workload.precision)
    size = workload.hidden
    kinds = {"rnn": torch.nn.RNN, "relu": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}
    options = {"nonlinearity": "relu"} if workload.cell == "relu" else {}
    module = kinds[workload.cell](workload.features, size, **options)
    b_hh = np.zeros_like(arrays["b"])
    if "b_hn" in arrays:
        b_hh[2 * size :] = arrays["b_hn"]
    values = {
        "weight_ih_l0": arrays["w_ih"].T,
        "weight_hh_l0": arrays["w_hh"].T,
        "bias_ih_l0": arrays["b"],
        "bias_hh_l0": b_hh,
    }
    module.to(device=device, dtype=getattr(torch, workload.dtype))
    module.load_state_dict({key: tensor(value, device) for key, value in values.items()})

    def to_workload(gradients: list[np.ndarray]) -> Arrays:
        w_ih, w_hh, b_ih, b_hh = gradients
        named = {"w_ih": w_ih.T, "w_hh": w_hh.T, "b": b_ih}
        return named | ({"b_hn": b_hh[2 * size :]} if "b_hn" in arrays else {})

    return TorchLayer(
        workload.equations,
        module,
        tensor(arrays["xs"], device),
        tensor(arrays["weights"], device),
        to_workload,
        name == "torch-compile",
    )


def device_of() -> str:
    """The device that JAX runs on, by PyTorch's name; `Unavailable` where PyTorch lacks it."""
    import torch

    backend = jax.default_backend()
    if backend == "cpu":
        return "cpu"
    if not torch.cuda.is_available():
        raise Unavailable(f"this torch has no CUDA, and JAX runs on {backend}")
    return "cuda"


def fastest_threads(
    call: Callable[[], Any], *, clock: Callable[[], float] = time.perf_counter
) -> int:
    """PyTorch's own number of threads or one, whichever is faster; on a GPU its own."""
    import torch

    most = torch.get_num_threads()
    if most == 1 or jax.default_backend() != "cpu":
        return most
    forms = {threads: on_threads(call, threads) for threads in (most, 1)}
    return fastest(forms, clock=clock)


def on_threads(call: Callable[[], Any], threads: int) -> Callable[[], Any]:
    """``call`` with so many threads, which are set each time; that takes a microsecond at most."""
    import torch

    most = torch.get_num_threads()
    if threads == most:
        return call

    def bound() -> Any:
        torch.set_num_threads(threads)
        try:
            return call()
        finally:
            torch.set_num_threads(most)

    return bound


def set_precision(precision: str) -> None:
    """TF32 for everything but "highest", in products and in cuDNN."""
    import torch

    allowed = precision != "highest"
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


def tensor(array: np.ndarray, device: str) -> Any:
    """A NumPy array, bfloat16 too, as a tensor of its own."""
    import torch

    if array.dtype.name != "bfloat16":
        return torch.tensor(array, device=device)
    return torch.tensor(array.astype(np.float32), device=device, dtype=torch.bfloat16)


def to_numpy(value: Any) -> np.ndarray:
    """The way back; float64 where NumPy has no such dtype."""
    array: np.ndarray = value.detach().double().cpu().numpy()
    return array


def synchronizer(device: str) -> Callable[[], None]:
    """A function that waits for the end of what runs on the device."""
    import torch

    return torch.cuda.synchronize if device == "cuda" else lambda: None


def _peak_bytes(call: Callable[[], object], own: list[Any]) -> int | None:
    """The bytes of its tensors and of what a call allocates, without what other peers occupy."""
    import torch

    if own[0].device.type != "cuda":
        return None
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    torch.cuda.synchronize()
    held = sum(tensor.numel() * tensor.element_size() for tensor in own)
    return int(torch.cuda.max_memory_allocated() - before + held)
