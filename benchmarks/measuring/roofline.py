"""What a machine allows: the bound on a case's speed by its operations and its bytes."""

from __future__ import annotations

from typing import NamedTuple

from benchmarks.measuring.flops import Cost

__all__ = ["Roofline"]

# `benchmarks.measuring.flops` counts an array up to three times: written, read, its gradient.
_COUNTED = 3


class Roofline(NamedTuple):
    """The ceilings: products, arrays in memory, and smaller arrays, which stay in a cache.

    by_size: bytes of an array that is updated in place, and GB/s read and written.
    """

    gemm_gflops_per_s: float
    copy_gb_per_s: float
    by_size: tuple[tuple[float, float], ...] = ()

    def bandwidth(self, held: float) -> float:
        """GB/s that no code exceeds here whose arrays take ``held`` bytes at least.

        That of the next smaller size that was measured, or of a larger one that was faster.

        Example:
          >>> roofline = Roofline(100.0, 10.0, ((1e4, 80.0), (1e6, 40.0), (1e8, 10.0)))
          >>> roofline.bandwidth(5e3), roofline.bandwidth(2e6), roofline.bandwidth(1e9)
          (80.0, 40.0, 10.0)
        """
        below = [size for size, _ in self.by_size if size <= held]
        first = max(below, default=0.0)
        return max([self.copy_gb_per_s, *(rate for size, rate in self.by_size if size >= first)])

    def bound(self, cost: Cost) -> float:
        """GFLOP/s that no code with this many operations and bytes exceeds here.

        Example:
          >>> Roofline(100.0, 10.0).bound(Cost(flops=8.0, bytes=4.0))
          20.0
        """
        bandwidth = self.bandwidth(cost.bytes / _COUNTED)
        return min(self.gemm_gflops_per_s, bandwidth * cost.flops / cost.bytes)
