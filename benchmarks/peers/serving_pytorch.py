"""PyTorch token after token: eager, and its step under `torch.compile`."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.measuring.implementation import Prepared
from benchmarks.measuring.workloads import Arrays, Language
from benchmarks.peers.language_pytorch import build_model
from benchmarks.peers.pytorch import synchronizer

__all__ = ["prepare"]


def prepare(name: str, workload: Language, arrays: Arrays, prefix: np.ndarray) -> Prepared:
    """``length`` tokens after a prefix ``[1, B]``, each the likeliest."""
    import torch

    model = build_model(workload, arrays)
    first = torch.tensor(prefix.astype(np.int64), device=model.device)

    def step(token: Any, state: Any) -> Any:
        logits, state = model.logits(token, state)
        return logits.argmax(dim=-1), state

    if name == "torch-compile":
        step = torch.compile(step)

    def tokens() -> Any:
        token, state, taken = first, None, []
        with torch.inference_mode():
            for _ in range(workload.length):
                token, state = step(token, state)
                taken.append(token)
        return torch.cat(taken)

    synchronize = synchronizer(model.device)

    def call() -> Any:
        taken = tokens()
        synchronize()
        return taken

    return Prepared(
        call,
        lambda: {"tokens": tokens().cpu().numpy()},
        steps=workload.length,
        equations=workload.equations,
    )
