"""PyTorch's language model: `nn.Embedding`, `nn.LSTM` and others, `nn.Linear`.

One-hot inputs are looked up, as PyTorch's users do. Where they are shorter than the gates the rows
come from an identity matrix. Where they are longer, the rows of the input matrix itself are an
embedding, and the layer's input matrix is an identity that is not trained: the same function and
the same updates, without a product with as many columns as there are words.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from benchmarks.measuring.workloads import Arrays, Language
from benchmarks.peers.pytorch import device_of, set_precision, tensor, to_numpy

__all__ = ["TorchModel", "build_model"]


@dataclass(frozen=True)
class TorchModel:
    """Parameters by the workload's names, and the function of tokens ``[T, B]``.

    stacks: modules of one layer or more, each of layers of one size.
    embedding: of the workload; None for one-hot inputs.
    rows: the input matrix of the first layer as an embedding, or None.
    identity: of one-hot inputs that are shorter than that layer's gates, or None.
    """

    workload: Language
    stacks: tuple[Any, ...]
    embedding: Any
    rows: Any
    identity: Any
    readout: Any
    device: str

    def parameters(self) -> list[Any]:
        """Those that are trained, a tied one once."""
        parts = (*self.stacks, self.embedding, self.rows, self.readout)
        own = (p for part in parts if part is not None for p in part.parameters())
        trained = (p for p in own if p.requires_grad)
        return list(dict.fromkeys(trained))

    def logits(self, tokens: Any, states: Any = None) -> tuple[Any, Any]:
        """``[T, B, V]``, and the states after the last step."""
        features, after = self.features(tokens, states)
        return self.readout(features), after

    def features(self, tokens: Any, states: Any = None) -> tuple[Any, Any]:
        """What the read-out is applied to, and the states after the last step."""
        import torch

        look_up = self.embedding or self.rows
        if look_up is not None:
            xs = look_up(tokens)
        else:
            xs = torch.nn.functional.embedding(tokens, self.identity)
        if self.workload.noise is not None:
            return self._noisy(xs, *self.workload.noise), None
        after = []
        for stack, state in zip(self.stacks, states or [None] * len(self.stacks), strict=True):
            xs, state = stack(xs, state)
            after.append(state)
        return xs, after

    def _noisy(self, xs: Any, inputs: float, between: float, outputs: float, weights: float) -> Any:
        """The stack with dropout, as AWD-LSTM's own code has it."""
        import torch

        def locked(xs: Any, rate: float) -> Any:
            mask = xs.new_empty(1, *xs.shape[1:]).bernoulli_(1 - rate)
            return xs * mask.div_(1 - rate)

        xs = locked(xs, inputs)
        for index, layer in enumerate(self.stacks):
            xs = xs if index == 0 else locked(xs, between)
            w_hh = torch.nn.functional.dropout(layer.weight_hh_l0, weights)
            flat = [layer.weight_ih_l0, w_hh, layer.bias_ih_l0, layer.bias_hh_l0]
            zeros = xs.new_zeros(1, xs.shape[1], layer.hidden_size)
            # What nn.LSTM calls: with biases, one layer, no dropout of its own, training, one
            # direction, time first.
            xs, *_ = torch._VF.lstm(xs, (zeros, zeros), flat, True, 1, 0.0, True, False, False)
        return locked(xs, outputs)

    def named(self, of: Callable[[Any], Any] = lambda parameter: parameter) -> Arrays:
        """What ``of`` gives for each parameter, in the workload's layout."""
        named = {"b_out": of(self.readout.bias)}
        if not self.workload.tied:
            named["w_out"] = of(self.readout.weight).T
        if self.embedding is not None:
            named["embedding"] = of(self.embedding.weight)
        index = 0
        for stack in self.stacks:
            for own in range(stack.num_layers):
                if index == 0 and self.rows is not None:
                    named["w_ih.0"] = of(self.rows.weight)
                else:
                    named[f"w_ih.{index}"] = of(getattr(stack, f"weight_ih_l{own}")).T
                named[f"w_hh.{index}"] = of(getattr(stack, f"weight_hh_l{own}")).T
                named[f"b.{index}"] = of(getattr(stack, f"bias_ih_l{own}"))
                if self.workload.cell == "gru":
                    b_hh = of(getattr(stack, f"bias_hh_l{own}"))
                    named[f"b_hn.{index}"] = b_hh[2 * stack.hidden_size :]
                index += 1
        return {name: to_numpy(value).copy() for name, value in named.items()}


def build_model(workload: Language, arrays: Arrays, *, sparse: bool = False) -> TorchModel:
    """The workload's model with its parameters; ``sparse`` gradients of what is looked up."""
    import torch

    device = device_of()
    set_precision(workload.precision)
    kind = {"rnn": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[workload.cell]
    below, index = workload.embedding or workload.vocab, 0
    parts: list[tuple[Any, Arrays]] = []
    stacks: list[Any] = []
    gates, rows, identity = arrays["w_ih.0"].shape[1], None, None
    if workload.embedding is None and workload.vocab > gates:
        rows = torch.nn.Embedding(workload.vocab, gates, sparse=sparse)
        parts.append((rows, {"weight": arrays["w_ih.0"]}))
        arrays, below = arrays | {"w_ih.0": np.eye(gates, dtype=arrays["w_ih.0"].dtype)}, gates
    for size, count in _equal_sizes(workload):
        values: Arrays = {}
        stack = kind(below, size, num_layers=count)
        for own in range(count):
            b = arrays[f"b.{index}"]
            b_hh = np.zeros_like(b)
            if workload.cell == "gru":
                b_hh[2 * size :] = arrays[f"b_hn.{index}"]
            else:  # a second bias of the same gate: two would train at twice the rate of one
                getattr(stack, f"bias_hh_l{own}").requires_grad_(False)
            values |= {
                f"weight_ih_l{own}": arrays[f"w_ih.{index}"].T,
                f"weight_hh_l{own}": arrays[f"w_hh.{index}"].T,
                f"bias_ih_l{own}": b,
                f"bias_hh_l{own}": b_hh,
            }
            index += 1
        if not stacks and rows is not None:
            stack.weight_ih_l0.requires_grad_(False)
        parts.append((stack, values))
        stacks.append(stack)
        below = size
    readout, embedding = torch.nn.Linear(below, workload.vocab), None
    w_out = arrays["embedding"] if workload.tied else arrays["w_out"].T
    parts.append((readout, {"weight": w_out, "bias": arrays["b_out"]}))
    if workload.embedding is not None:
        embedding = torch.nn.Embedding(workload.vocab, workload.embedding, sparse=sparse)
        parts.append((embedding, {"weight": arrays["embedding"]}))
    for part, named in parts:
        part.to(device=device, dtype=getattr(torch, workload.dtype))
        part.load_state_dict({name: tensor(value, device) for name, value in named.items()})
    if workload.tied and embedding is not None:
        readout.weight = embedding.weight
    if embedding is None and rows is None:
        identity = torch.eye(workload.vocab, device=device, dtype=readout.weight.dtype)
    return TorchModel(workload, tuple(stacks), embedding, rows, identity, readout, device)


def _equal_sizes(workload: Language) -> list[tuple[int, int]]:
    """Sizes of neighbouring layers, and how many of them one module may have.

    With noise between and within them each is a module of its own.
    """
    if workload.noise is not None:
        return [(size, 1) for size in workload.sizes]
    return [(size, len(list(same))) for size, same in groupby(workload.sizes)]
