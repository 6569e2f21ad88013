"""PyTorch token after token: eager, and its step under `torch.compile`."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.measuring.implementation import Prepared
from benchmarks.measuring.timing import Laps
from benchmarks.measuring.workloads import Arrays, Language
from benchmarks.peers.pytorch import fastest_threads, on_threads
from benchmarks.peers.pytorch_model import build_model

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

    laps = Laps()

    def tokens() -> np.ndarray:
        token, state, taken = first, None, []
        laps.start()
        with torch.inference_mode():
            for _ in range(workload.length):
                token, state = step(token, state)
                taken.append(token.cpu().numpy())  # handed over before the next one is begun
                laps.lap()
        return np.concatenate(taken)

    threads = fastest_threads(tokens)
    return Prepared(
        on_threads(tokens, threads),
        lambda: {"tokens": tokens()},
        steps=workload.length,
        equations=workload.equations,
        laps=lambda: laps.seconds,
        facts=lambda: {"threads": threads},
    )
