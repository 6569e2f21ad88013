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


class _Order:
    """The order of one pass, as `DataLoader` takes it; another one for the next."""

    def __init__(self) -> None:
        self.starts: list[int] = []

    def __iter__(self) -> Iterator[int]:
        return iter(self.starts)

    def __len__(self) -> int:
        return len(self.starts)


def feeding(path: str, steps: int, batch: int, how: str) -> Functions:
    """Windows by `torch.utils.data.DataLoader`, stacked by its own function and transposed."""
    from torch.utils.data import DataLoader

    data: Any = _Windows(path, steps)
    order: Any = _Order()
    workers = 2 if how == WORKERS else 0
    # The workers stay from one pass to the next: in a long one their start counts for nothing.
    loader = DataLoader(
        data, batch, sampler=order, num_workers=workers, persistent_workers=workers > 0
    )

    def batches(starts: np.ndarray) -> Iterator[Any]:
        order.starts = starts.tolist()
        for windows in loader:
            yield windows.T.contiguous()

    def run(starts: np.ndarray) -> None:
        for _ in batches(starts):
            pass

    def windows(starts: np.ndarray) -> np.ndarray:
        return np.stack([one.numpy() for one in batches(starts)])

    return {"run": run, "windows": windows}
