"""Cases of sliding windows over recurrent layers: by pull-backs, by windows, and in PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import jax
import numpy as np

import rnn_jax
from benchmarks.measuring.case import Case
from benchmarks.measuring.implementation import JaxImplementation, Prepared, Unavailable
from benchmarks.measuring.layers import OF, TRAINED
from benchmarks.measuring.oracle import check, tolerance
from benchmarks.measuring.workloads import Arrays, Recurrence
from benchmarks.peers import OURS, pytorch
from benchmarks.peers.ours import CELLS

__all__ = ["FULL", "WINDOWS", "SlidingLayers", "case"]

WINDOWS, FULL = f"{OURS}-windows", f"{OURS}-full"
# Rows of the batch that the oracle takes at once.
_ROWS = 8


@dataclass(frozen=True)
class SlidingLayers(Recurrence):
    """A stack of equal layers, whose losses reach ``lags`` further steps back."""

    lags: int = field(default=4, kw_only=True)
    layers: int = field(default=1, kw_only=True)

    @property
    def name(self) -> str:
        """``cell-BxTxHxD-sliding:k``, with the number of layers in front if it is not one."""
        count = "" if self.layers == 1 else f"{self.layers}x"
        return f"{count}{super().name}-sliding:{self.lags}"

    def facts(self) -> dict[str, Any]:
        """What every row states about it."""
        return super().facts() | {"layers": self.layers, "truncation": f"sliding:{self.lags}"}

    def arrays(self) -> Arrays:
        """As of one layer; those of the further ones are named ``w_ih.1``, …"""
        arrays = super().arrays()
        for index in range(1, self.layers):
            above = Recurrence(
                self.cell, 1, 1, self.hidden, self.hidden, dtype=self.dtype, seed=self.seed + index
            ).arrays()
            arrays |= {f"{n}.{index}": a for n, a in above.items() if n not in ("xs", "weights")}
        return arrays


def case(group: str, workload: SlidingLayers, *, rank: int = 1) -> Case:
    """The loss and its gradient by rnn_jax in three ways, and by PyTorch."""
    return Case(
        group,
        TRAINED,
        workload.facts(),
        (OURS, WINDOWS, FULL, "torch"),
        lambda: _open(workload),
        of=OF[TRAINED],
        rank=rank,
    )


def _open(workload: SlidingLayers) -> Callable[[str], Prepared]:
    arrays = workload.arrays()
    sliding = rnn_jax.sliding(workload.lags)
    builds: dict[str, Callable[..., Any]] = {
        OURS: partial(_ours, kind=sliding),
        WINDOWS: partial(_ours, kind=sliding, reference=True),
        FULL: partial(_ours, kind=rnn_jax.full()),
        "torch": _torch,
    }

    @cache
    def wanted(kind: rnn_jax.Truncation) -> Arrays:
        """In float64, by the windows that the tests hold to a double loop in NumPy.

        Some rows of the batch after another, because windows of 35 over 512 steps of all would
        take 27 GB: the loss and the gradients of parameters are sums over rows.
        """
        with jax.enable_x64(True):
            double = {name: array.astype(np.float64) for name, array in arrays.items()}
            parts = []
            for begin in range(0, workload.batch, _ROWS):
                rows = {n: double[n][:, begin : begin + _ROWS] for n in ("xs", "weights")}
                oracle = _ours(workload, double | rows, kind=kind, reference=True)
                parts.append(oracle.prepare(TRAINED).result())
        joined: Arrays = {
            name: np.sum([part[name] for part in parts], 0) for name in parts[0] if name != "xs"
        }
        return joined | {"xs": np.concatenate([part["xs"] for part in parts], 1)}

    def prepare(name: str) -> Prepared:
        prepared: Prepared = builds[name](workload, arrays).prepare(TRAINED)
        want = wanted(rnn_jax.full() if name == FULL else sliding)
        # A gradient sums those of k+1 windows at each step.
        terms = workload.length * (1 if name == FULL else workload.lags + 1)
        allowance = tolerance(workload.dtype, workload.precision, terms)
        check(prepared.result(), want, TRAINED, allowance)
        return prepared

    return prepare


def _ours(
    workload: SlidingLayers, arrays: Arrays, *, kind: rnn_jax.Truncation, reference: bool = False
) -> JaxImplementation:
    factory, equations = CELLS[workload.cell]
    size, suffixes = workload.hidden, ["", *(f".{i}" for i in range(1, workload.layers))]
    stack = [rnn_jax.recurrent(factory(size)) for _ in suffixes]
    layer: rnn_jax.Layer = stack[0] if workload.layers == 1 else rnn_jax.serial(*stack)
    parts = []
    for end in suffixes:
        part = {name: arrays[name + end] for name in ("w_ih", "w_hh", "b")}
        if workload.cell == "gru":
            part["b_hh"] = np.pad(arrays["b_hn" + end], (2 * size, 0))
        parts.append(part)
    truncated = rnn_jax.truncate(layer, kind, reference=reference)

    def apply(parts: list[Any], xs: jax.Array) -> jax.Array:
        one = workload.layers == 1
        params = parts[0] if one else {str(i): part for i, part in enumerate(parts)}
        return truncated.apply(params, None, xs)[1]

    def to_workload(parts: list[Any]) -> dict[str, Any]:
        named: dict[str, Any] = {}
        for part, end in zip(parts, suffixes, strict=True):
            named |= {name + end: part[name] for name in ("w_ih", "w_hh", "b")}
            if "b_hh" in part:
                named["b_hn" + end] = part["b_hh"][2 * size :]
        return named

    return JaxImplementation(equations, apply, parts, to_workload, arrays)


@dataclass(frozen=True)
class _Torch:
    """All windows side by side as one batch of ``T·B`` sequences of ``k+1`` steps.

    A loop over windows, each from a detached state, would make T·(k+1) small steps of these k+1
    large ones. The states come from a pass without a graph; PyTorch gives an LSTM's cell state
    after the last step only, so that an LSTM or a stack takes that pass step by step.
    """

    workload: SlidingLayers
    module: Any
    xs: Any
    weights: Any

    def prepare(self, pass_name: str) -> Prepared:
        import torch

        xs, k, module = self.xs.clone().requires_grad_(), self.workload.lags, self.module
        size, count = self.workload.hidden, self.workload.layers
        _, batch, _ = xs.shape

        def states() -> Any:
            """The state before each window from the second on, ``[layers, (T-k-1)·B, H]``."""
            steps = xs[: -k - 1]
            if count == 1 and self.workload.cell != "lstm":
                return module(steps)[0].reshape(1, -1, size)
            state, kept = None, []
            for x in steps:
                _, state = module(x[None], state)
                kept.append(state)
            if self.workload.cell == "lstm":
                return tuple(torch.cat(part, 1) for part in zip(*kept, strict=True))
            return torch.cat(kept, 1)

        def first(state: Any) -> Any:
            zeros = torch.zeros_like(state[:, :batch])
            return torch.cat([zeros, state], 1)

        def forward_backward() -> Any:
            with torch.no_grad():
                before = states()
            lstm = isinstance(before, tuple)
            begin = tuple(map(first, before)) if lstm else first(before)
            windows = xs.unfold(0, k + 1, 1).permute(3, 0, 1, 2).flatten(1, 2)
            ends = module(windows, begin)[0][-1].reshape(-1, batch, size)
            loss = (ends * self.weights[k:]).sum()
            if k:  # the first windows are shorter
                loss = loss + (module(xs[:k])[0] * self.weights[:k]).sum()
            gradients = torch.autograd.grad(loss, [xs, *module.parameters()])
            return loss.detach(), *gradients

        def result() -> Arrays:
            loss, by_xs, *by_params = map(pytorch.to_numpy, forward_backward())
            named = {"loss": loss, "xs": by_xs}
            for index in range(count):
                w_ih, w_hh, b_ih, b_hh = by_params[4 * index : 4 * index + 4]
                end = f".{index}" if index else ""
                named |= {f"w_ih{end}": w_ih.T, f"w_hh{end}": w_hh.T, f"b{end}": b_ih}
                if self.workload.cell == "gru":
                    named[f"b_hn{end}"] = b_hh[2 * size :]
            return named

        synchronize = pytorch.synchronizer(xs.device.type)

        def call() -> Any:
            done = forward_backward()
            synchronize()
            return done

        threads = pytorch.fastest_threads(call)
        return Prepared(
            pytorch.on_threads(call, threads),
            result,
            equations=CELLS[self.workload.cell][1],
            facts=lambda: {"threads": threads},
        )


def _torch(workload: SlidingLayers, arrays: Arrays) -> _Torch:
    import torch

    if workload.dtype != "float32":
        raise Unavailable("timed in float32 only")
    device, size = pytorch.device_of(), workload.hidden
    pytorch.set_precision(workload.precision)
    kinds = {"rnn": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}
    module = kinds[workload.cell](workload.features, size, workload.layers)
    values: dict[str, Any] = {}
    for index in range(workload.layers):
        end = f".{index}" if index else ""
        b_hh = np.zeros_like(arrays["b" + end])
        if workload.cell == "gru":
            b_hh[2 * size :] = arrays["b_hn" + end]
        named = {
            "weight_ih": arrays["w_ih" + end].T, "weight_hh": arrays["w_hh" + end].T,
            "bias_ih": arrays["b" + end], "bias_hh": b_hh,
        }  # fmt: skip
        values |= {f"{n}_l{index}": pytorch.tensor(a, device) for n, a in named.items()}
    module.to(device)
    module.load_state_dict(values)
    xs, weights = (pytorch.tensor(arrays[name], device) for name in ("xs", "weights"))
    return _Torch(workload, module, xs, weights)
