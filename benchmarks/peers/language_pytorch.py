"""PyTorch, eager: `nn.Embedding`, `nn.LSTM` and others, `nn.Linear`; training and generation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.measuring.implementation import Prepared, Unavailable
from benchmarks.measuring.workloads import Arrays, Language
from benchmarks.peers.pytorch import device_of, set_precision, synchronizer, tensor, to_numpy

__all__ = ["prepare_generation", "prepare_training"]


@dataclass(frozen=True)
class _Model:
    """Parameters by the workload's names, and the function of tokens ``[T, B]``."""

    workload: Language
    layers: Any
    embedding: Any
    readout: Any
    device: str

    def parameters(self) -> list[Any]:
        parts = (self.layers, self.embedding, self.readout)
        return [p for part in parts if part is not None for p in part.parameters()]

    def logits(self, tokens: Any, state: Any = None) -> tuple[Any, Any]:
        import torch

        if self.embedding is not None:
            xs = self.embedding(tokens)
        else:
            one_hot = torch.nn.functional.one_hot(tokens, self.workload.vocab)
            xs = one_hot.to(self.readout.weight.dtype)
        ys, state = self.layers(xs, state)
        return self.readout(ys), state

    def named(self) -> dict[str, np.ndarray]:
        named = {"w_out": self.readout.weight.T, "b_out": self.readout.bias}
        if self.embedding is not None:
            named["embedding"] = self.embedding.weight
        size = self.workload.hidden
        for index in range(self.workload.layers):
            named[f"w_ih.{index}"] = getattr(self.layers, f"weight_ih_l{index}").T
            named[f"w_hh.{index}"] = getattr(self.layers, f"weight_hh_l{index}").T
            named[f"b.{index}"] = getattr(self.layers, f"bias_ih_l{index}")
            if self.workload.cell == "gru":
                named[f"b_hn.{index}"] = getattr(self.layers, f"bias_hh_l{index}")[2 * size :]
        return {name: to_numpy(value).copy() for name, value in named.items()}


def _build(workload: Language, arrays: Arrays) -> _Model:
    import torch

    device = device_of()
    set_precision(workload.precision)
    kind = {"rnn": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[workload.cell]
    below, size = workload.embedding or workload.vocab, workload.hidden
    layers = kind(below, size, num_layers=workload.layers)
    values: Arrays = {}
    for index in range(workload.layers):
        b = arrays[f"b.{index}"]
        b_hh = np.zeros_like(b)
        if workload.cell == "gru":
            b_hh[2 * size :] = arrays[f"b_hn.{index}"]
        values |= {
            f"weight_ih_l{index}": arrays[f"w_ih.{index}"].T,
            f"weight_hh_l{index}": arrays[f"w_hh.{index}"].T,
            f"bias_ih_l{index}": b,
            f"bias_hh_l{index}": b_hh,
        }
    readout = torch.nn.Linear(size, workload.vocab)
    parts = [
        (layers, values),
        (readout, {"weight": arrays["w_out"].T, "bias": arrays["b_out"]}),
    ]
    embedding = None
    if workload.embedding is not None:
        embedding = torch.nn.Embedding(workload.vocab, workload.embedding)
        parts.append((embedding, {"weight": arrays["embedding"]}))
    for part, named in parts:
        part.to(device=device, dtype=getattr(torch, workload.dtype))
        part.load_state_dict({name: tensor(value, device) for name, value in named.items()})
    return _Model(workload, layers, embedding, readout, device)


def prepare_training(
    workload: Language, arrays: Arrays, tokens: np.ndarray, pass_name: str
) -> Prepared:
    """A step on the first batch; there is no call of many steps."""
    if pass_name != "step":
        raise Unavailable("eager: there is no call of many steps")
    if workload.truncation != "full":
        raise Unavailable("PyTorch has no such truncation")
    import torch

    model = _build(workload, arrays)
    parameters = model.parameters()
    optimizer = torch.optim.SGD(parameters, workload.learning_rate)
    batch = torch.tensor(tokens[0].astype(np.int64), device=model.device)
    inputs, targets = batch[:-1], batch[1:].reshape(-1)

    def start() -> Any:
        optimizer.zero_grad()
        logits, _ = model.logits(inputs)
        logits = logits.reshape(-1, workload.vocab)
        loss = torch.nn.functional.cross_entropy(logits, targets)
        loss.backward()
        if workload.clip is not None:
            torch.nn.utils.clip_grad_norm_(parameters, workload.clip)
        optimizer.step()
        return loss.detach()

    synchronize = synchronizer(model.device)

    def call() -> Any:
        loss = start()
        synchronize()
        return loss

    def result() -> Arrays:
        before = model.named()
        loss = to_numpy(start())
        after = model.named()
        return {"loss": loss, **{name: after[name] - before[name] for name in after}}

    return Prepared(
        call, result, start=start, equations=workload.equations, wait=lambda _: synchronize()
    )


def prepare_generation(workload: Language, arrays: Arrays, prefix: np.ndarray) -> Prepared:
    """``length`` tokens after a prefix ``[1, B]``; ``result`` takes the arg-max of each step."""
    import torch

    model = _build(workload, arrays)
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
