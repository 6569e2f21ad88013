"""PyTorch, eager: `nn.Embedding`, `nn.LSTM` and others, `nn.Linear`; training and generation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from benchmarks.measuring.implementation import Prepared, Unavailable
from benchmarks.measuring.timing import first_call
from benchmarks.measuring.workloads import Arrays, Language
from benchmarks.peers.pytorch import device_of, set_precision, synchronizer, tensor, to_numpy

__all__ = ["build_model", "prepare_generation", "prepare_training"]


@dataclass(frozen=True)
class _Model:
    """Parameters by the workload's names, and the function of tokens ``[T, B]``.

    stacks: modules of one layer or more, each of layers of one size.
    """

    workload: Language
    stacks: tuple[Any, ...]
    embedding: Any
    readout: Any
    device: str

    def parameters(self) -> list[Any]:
        """Those that are trained, a tied one once."""
        parts = [p for p in (*self.stacks, self.embedding, self.readout) if p is not None]
        trained = (p for part in parts for p in part.parameters() if p.requires_grad)
        return list(dict.fromkeys(trained))

    def logits(self, tokens: Any, states: Any = None) -> tuple[Any, Any]:
        """``[T, B, V]``, and the states after the last step."""
        features, after = self.features(tokens, states)
        return self.readout(features), after

    def features(self, tokens: Any, states: Any = None) -> tuple[Any, Any]:
        """What the read-out is applied to, and the states after the last step."""
        import torch

        if self.embedding is not None:
            xs = self.embedding(tokens)
        else:
            one_hot = torch.nn.functional.one_hot(tokens, self.workload.vocab)
            xs = one_hot.to(self.readout.weight.dtype)
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
                named[f"w_ih.{index}"] = of(getattr(stack, f"weight_ih_l{own}")).T
                named[f"w_hh.{index}"] = of(getattr(stack, f"weight_hh_l{own}")).T
                named[f"b.{index}"] = of(getattr(stack, f"bias_ih_l{own}"))
                if self.workload.cell == "gru":
                    b_hh = of(getattr(stack, f"bias_hh_l{own}"))
                    named[f"b_hn.{index}"] = b_hh[2 * stack.hidden_size :]
                index += 1
        return {name: to_numpy(value).copy() for name, value in named.items()}


def build_model(workload: Language, arrays: Arrays) -> _Model:
    """The workload's model with its parameters."""
    import torch

    device = device_of()
    set_precision(workload.precision)
    kind = {"rnn": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[workload.cell]
    below, index = workload.embedding or workload.vocab, 0
    parts, stacks = [], []
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
        parts.append((stack, values))
        stacks.append(stack)
        below = size
    readout, embedding = torch.nn.Linear(below, workload.vocab), None
    w_out = arrays["embedding"] if workload.tied else arrays["w_out"].T
    parts.append((readout, {"weight": w_out, "bias": arrays["b_out"]}))
    if workload.embedding is not None:
        embedding = torch.nn.Embedding(workload.vocab, workload.embedding)
        parts.append((embedding, {"weight": arrays["embedding"]}))
    for part, named in parts:
        part.to(device=device, dtype=getattr(torch, workload.dtype))
        part.load_state_dict({name: tensor(value, device) for name, value in named.items()})
    if workload.tied and embedding is not None:
        readout.weight = embedding.weight
    return _Model(workload, tuple(stacks), embedding, readout, device)


def _equal_sizes(workload: Language) -> list[tuple[int, int]]:
    """Sizes of neighbouring layers, and how many of them one module may have.

    With noise between and within them each is a module of its own.
    """
    if workload.noise is not None:
        return [(size, 1) for size in workload.sizes]
    return [(size, len(list(same))) for size, same in groupby(workload.sizes)]


def _optimizer(workload: Language, parameters: list[Any]) -> Any:
    """The fastest of an optimiser's forms, on these parameters and this machine.

    Which it is differs between devices, versions and sizes. They are tried with gradients of zero,
    which move nothing.
    """
    import torch

    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[workload.optimizer]
    synchronize = synchronizer(parameters[0].device.type)
    forms: list[dict[str, bool]] = [{"foreach": False}, {"foreach": True}, {"fused": True}]
    seconds = []
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    for form in forms:
        try:
            tried = kind(parameters, workload.learning_rate, **form)
            calls = [first_call(lambda: (tried.step(), synchronize())) for _ in range(6)]  # noqa: B023
        except RuntimeError:  # no such form on this device
            seconds.append(float("inf"))
        else:
            seconds.append(min(calls[1:]))
    for parameter in parameters:
        parameter.grad = None
    best = forms[seconds.index(min(seconds))]
    return kind(parameters, workload.learning_rate, **best)


def prepare_training(
    workload: Language,
    arrays: Arrays,
    tokens: np.ndarray,
    pass_name: str,
    *,
    chunked: bool = False,
) -> Prepared:
    """A step on the first batch, or with the pass "fit" a loop over all of them.

    The loop is the usual one. It reads a loss once a call, where others do it once a step, so that
    a device need not be waited for.

    Args:
      workload: the model and its shapes.
      arrays: its parameters.
      tokens: the batches, ``[N, T + 1, B]``.
      pass_name: "step" or "fit".
      chunked: by `torch.nn.functional.linear_cross_entropy` with its own choice of chunks, which
        does not hold all logits; it came with PyTorch 2.13.
    """
    if pass_name not in ("step", "fit"):
        raise Unavailable("eager: there is no call of many steps")
    if workload.truncation != "full":
        raise Unavailable("PyTorch has no such truncation")
    import torch

    functional = torch.nn.functional
    if chunked and not hasattr(functional, "linear_cross_entropy"):
        raise Unavailable(f"PyTorch {torch.__version__} has no linear_cross_entropy")
    model = build_model(workload, arrays)
    parameters = model.parameters()
    optimizer = _optimizer(workload, parameters)
    data = torch.tensor(tokens.astype(np.int64), device=model.device)
    count = len(data) if pass_name == "fit" else 1

    def step(batch: Any) -> Any:
        optimizer.zero_grad()
        targets = batch[1:].reshape(-1)
        if chunked:
            features = model.features(batch[:-1])[0].flatten(0, 1)
            w, b = model.readout.weight, model.readout.bias
            options = torch.nn.LinearCrossEntropyOptions()
            loss = functional.linear_cross_entropy(
                features, w, targets, linear_bias=b, options=options
            )
        else:
            logits, _ = model.logits(batch[:-1])
            loss = functional.cross_entropy(logits.reshape(-1, workload.vocab), targets)
        loss.backward()
        if workload.clip is not None:
            torch.nn.utils.clip_grad_norm_(parameters, workload.clip)
        optimizer.step()
        return loss.detach()

    def start() -> Any:
        total = torch.zeros((), device=model.device)
        for batch in data[:count]:
            total += step(batch)
        return total

    synchronize = synchronizer(model.device)

    def call() -> Any:
        total = start().item()
        synchronize()
        return total

    def result() -> Arrays:
        before = model.named()
        loss = to_numpy(step(data[0]))
        after = model.named()
        got = {"loss": loss, **{name: after[name] - before[name] for name in after}}
        if workload.optimizer == "adam":
            means = model.named(lambda parameter: optimizer.state[parameter]["exp_avg"])
            got |= {f"mean.{name}": mean for name, mean in means.items()}
        return got

    return Prepared(
        call, result, start=start if count == 1 else None, steps=count,
        equations=workload.equations, wait=lambda _: synchronize(),
    )  # fmt: skip


def prepare_generation(workload: Language, arrays: Arrays, prefix: np.ndarray) -> Prepared:
    """``length`` tokens after a prefix ``[1, B]``; ``result`` takes the arg-max of each step."""
    import torch

    model = build_model(workload, arrays)
    first = torch.tensor(prefix.astype(np.int64), device=model.device)

    def generate(greedy: bool) -> Any:
        tokens, token, state = [], first, None
        with torch.inference_mode():
            for _ in range(workload.length):
                logits, state = model.logits(token, state)
                if greedy:
                    token = logits.argmax(dim=-1)
                else:
                    chances = torch.softmax(logits[0].float(), dim=-1)
                    token = torch.multinomial(chances, 1).T
                tokens.append(token)
        return torch.cat(tokens)

    synchronize = synchronizer(model.device)

    def call() -> Any:
        tokens = generate(greedy=False)
        synchronize()
        return tokens

    return Prepared(
        call,
        lambda: {"tokens": generate(greedy=True).cpu().numpy()},
        steps=workload.length,
        equations=workload.equations,
    )
