"""PyTorch: a `DataLoader` over a mapped file; it does not tokenise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

__all__ = ["WORKERS", "feeding"]

WORKERS = "workers"  # how it reads: by two processes beside this one, or by itself

Functions = dict[str, Callable[..., Any]]


class _Windows:
    """A data set as `DataLoader` takes it: item ``start`` is the window that begins there."""

    def __init__(self, path: str, steps: int) -> None:
        self.path, self.steps = path, steps
        self.ids = np.memmap(path, np.uint16, "r")

    def __len__(self) -> int:
        return len(self.ids) - self.steps + 1

    def __getitem__(self, start: int) -> Any:
        import torch

        return torch.from_numpy(self.ids[start : start + self.steps].astype(np.int32))


def feeding(path: str, steps: int, batch: int, how: str) -> Functions:
    """Windows by `torch.utils.data.DataLoader`, stacked by its own function and transposed."""
    from torch.utils.data import DataLoader

    data: Any = _Windows(path, steps)

    def batches(starts: np.ndarray) -> Iterator[Any]:
        # Its workers, as its users have them, begin with each pass over the data.
        loader = DataLoader(
            data,
            batch,
            sampler=starts.tolist(),
            num_workers=2 if how == WORKERS else 0,
        )
        for windows in loader:
            yield windows.T.contiguous()

    def run(starts: np.ndarray) -> None:
        for _ in batches(starts):
            pass

    return {
        "run": run,
        "windows": lambda starts: np.stack([one.numpy() for one in batches(starts)]),
    }
