"""PyTorch, eager: a language model's training steps, and generation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from benchmarks.measuring.implementation import Prepared, Unavailable
from benchmarks.measuring.timing import fastest
from benchmarks.measuring.workloads import Arrays, Language
from benchmarks.peers.pytorch import (
    device_of,
    fastest_threads,
    on_threads,
    synchronizer,
    to_numpy,
)
from benchmarks.peers.pytorch_model import TorchModel, build_model

__all__ = ["prepare_generation", "prepare_training"]


def _optimizer(workload: Language, model: TorchModel) -> Any:
    """The fastest of an optimiser's forms, on a model's parameters and this machine.

    Which it is differs between devices, versions and sizes. They are tried with gradients of zero,
    which move nothing.
    """
    import torch

    parameters, looked_up = model.parameters(), model.embedding or model.rows
    few = min(workload.length * workload.batch, workload.vocab)
    sparse_rows = [
        few if looked_up is not None and looked_up.sparse and parameter is looked_up.weight else 0
        for parameter in parameters
    ]
    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[workload.optimizer]
    synchronize = synchronizer(parameters[0].device.type)
    forms = {"loop": {"foreach": False}, "foreach": {"foreach": True}, "fused": {"fused": True}}
    for parameter, rows in zip(parameters, sparse_rows, strict=True):
        parameter.grad = torch.zeros_like(parameter)
        if rows:
            few = torch.arange(rows, device=parameter.device)[None]
            zeros = parameter.new_zeros(rows, parameter.shape[1])
            parameter.grad = torch.sparse_coo_tensor(
                few, zeros, parameter.shape, check_invariants=True
            )
    calls: dict[str, Callable[[], object]] = {}
    for name, form in forms.items():
        try:
            call = _stepped(kind(parameters, workload.learning_rate, **form), synchronize)
            call()
        except RuntimeError:  # no such form on this device, but every device has the loop
            if name == "loop":
                raise
        else:
            calls[name] = call
    best = forms[fastest(calls)]
    for parameter in parameters:
        parameter.grad = None
    return kind(parameters, workload.learning_rate, **best)


def _stepped(optimizer: Any, synchronize: Callable[[], object]) -> Callable[[], object]:
    def call() -> None:
        optimizer.step()
        synchronize()

    return call


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
      chunked: by `torch.nn.functional.linear_cross_entropy`, which does not hold all logits; it
        came with PyTorch 2.13.
    """
    if pass_name not in ("step", "fit"):
        raise Unavailable("eager: there is no call of many steps")
    if workload.truncation != "full":
        raise Unavailable("PyTorch has no such truncation")
    import torch

    if chunked and not hasattr(torch.nn.functional, "linear_cross_entropy"):
        raise Unavailable(f"PyTorch {torch.__version__} has no linear_cross_entropy")
    data = torch.tensor(tokens.astype(np.int64), device=device_of())
    # Tried on models of their own, for a step trains: chunks of its own choice (0) or of a quarter
    # of the rows, which hold a quarter of the logits; a dense gradient of what is looked up or one
    # of its rows alone; how many threads.
    build = partial(_Trainer.build, workload, arrays)
    chunk_rows = None
    if chunked:
        quarter = -(-workload.length * workload.batch // 4)
        chunk_rows = fastest(
            {rows: partial(build(False, rows).wait_for, data[0]) for rows in (0, quarter)}
        )
    kinds = [False, True] if _may_be_sparse(workload) else [False]
    calls = {sparse: partial(build(sparse, chunk_rows).wait_for, data[0]) for sparse in kinds}
    sparse = fastest(calls)
    threads = fastest_threads(calls[sparse])
    del calls
    trainer = build(sparse, chunk_rows)
    facts = {"threads": threads} | ({"chunk_rows": chunk_rows} if chunked else {})
    count = len(data) if pass_name == "fit" else 1

    def start() -> Any:
        total = torch.zeros((), device=data.device)
        for batch in data[:count]:
            total += trainer.step(batch)
        return total

    synchronize = synchronizer(data.device.type)

    def call() -> Any:
        total = start().item()
        synchronize()
        return total

    def result() -> Arrays:
        model = trainer.model
        before = model.named()
        loss = to_numpy(trainer.step(data[0]))
        after = model.named()
        got = {"loss": loss, **{name: after[name] - before[name] for name in after}}
        if workload.optimizer == "adam":
            state = trainer.optimizer.state
            means = model.named(lambda parameter: state[parameter]["exp_avg"])
            got |= {f"mean.{name}": mean for name, mean in means.items()}
        return got

    return Prepared(
        on_threads(call, threads), result,
        start=on_threads(start, threads) if count == 1 else None, steps=count,
        equations=workload.equations, wait=lambda _: synchronize(), facts=lambda: facts,
    )  # fmt: skip


def _may_be_sparse(workload: Language) -> bool:
    """Whether the plain rule sees a gradient as it is: a norm and Adam's means want all of it."""
    return workload.optimizer == "sgd" and workload.clip is None and not workload.tied


@dataclass(frozen=True)
class _Trainer:
    """A model and its optimiser; ``step`` trains on a batch ``[T + 1, B]`` and gives the loss.

    ``chunk_rows`` is how many rows PyTorch's loss in chunks takes at once: 0 leaves it the choice,
    and None takes the loss of all logits.
    """

    model: TorchModel
    optimizer: Any
    chunk_rows: int | None

    @classmethod
    def build(
        cls, workload: Language, arrays: Arrays, sparse: bool, chunk_rows: int | None
    ) -> _Trainer:
        model = build_model(workload, arrays, sparse=sparse)
        return cls(model, _optimizer(workload, model), chunk_rows)

    def step(self, batch: Any) -> Any:
        import torch

        functional, model, workload = torch.nn.functional, self.model, self.model.workload
        self.optimizer.zero_grad()
        targets = batch[1:].reshape(-1)
        if self.chunk_rows is not None:
            features = model.features(batch[:-1])[0].flatten(0, 1)
            w, b = model.readout.weight, model.readout.bias
            options = torch.nn.LinearCrossEntropyOptions(batch_chunk_size=self.chunk_rows or None)
            loss = functional.linear_cross_entropy(
                features, w, targets, linear_bias=b, options=options
            )
        else:
            logits, _ = model.logits(batch[:-1])
            loss = functional.cross_entropy(logits.reshape(-1, workload.vocab), targets)
        loss.backward()
        if workload.clip is not None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), workload.clip)
        self.optimizer.step()
        return loss.detach()

    def wait_for(self, batch: Any) -> float:
        """The loss of a step that has ended."""
        loss: float = self.step(batch).item()
        return loss


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

    threads = fastest_threads(call)
    return Prepared(
        on_threads(call, threads),
        lambda: {"tokens": generate(greedy=True).cpu().numpy()},
        steps=workload.length,
        equations=workload.equations,
        facts=lambda: {"threads": threads},
    )
