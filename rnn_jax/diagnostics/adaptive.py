"""How many steps back a sliding truncation must reach, from measured norms of gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike

from rnn_jax.diagnostics.gradient_flow import GradientFlow
from rnn_jax.truncation import Truncation, full, sliding

__all__ = ["AdaptiveTruncation", "adaptive_truncation", "check_bound"]

Norms = ArrayLike | Sequence[float]


class AdaptiveTruncation(NamedTuple):
    """What `adaptive_truncation` found.

    steps: the smallest ``k`` for `sliding` whose estimated bias is within the bound; None where no
      ``k`` is known to be, because the norms do not decay or too few lags were measured.
    decay: ``β``, by which norms shrink from lag to lag; 0 where they end.
    bias: ``float64[K]``, the estimated relative bias of ``sliding(k)`` for each lag that was
      measured; infinite where there is no estimate.
    """

    steps: int | None
    decay: float
    bias: np.ndarray

    @property
    def kind(self) -> Truncation:
        """``sliding(steps)``, or ``full()`` where there is no such number."""
        return full() if self.steps is None else sliding(self.steps)


def adaptive_truncation(norms: GradientFlow | Norms, bound: float) -> AdaptiveTruncation:
    """The shortest sliding truncation whose relative bias stays within ``bound``.

    With ``φ_j`` the expected norm of ``∂L_t/∂c_{t-j}`` and ``‖∂c/∂θ‖ ≤ M``, what ``sliding(k)``
    leaves out of the gradient ``g`` is at most ``M ε_k``, and what it keeps is taken to be ``M
    S_k``. Beyond the last lag ``R`` that was measured, norms are taken to decay as they do before:

        log φ_j ≈ a + j log β         by least squares over the lags from R/2 to R
        ε_k = Σ_{k<j≤R} φ_j + φ_R β / (1 - β)       for k ≤ R
        ε_k = φ_R β^{k-R+1} / (1 - β)               for k > R
        S_k = Σ_{j≤k} φ_j
        ‖g_k - g‖ / ‖g‖ ≤ ε_k / max_K (S_K - ε_K)

    The result is the smallest ``k`` for which the last line is at most ``bound``. It is an
    estimate, because ``S_k`` adds up norms: terms that cancel in ``g`` make the bias larger.

    Args:
      norms: ``float[K]``, ``φ_j`` for the lags ``0 … R``, or the result of `gradient_flow` for a
        model that is not truncated, measured at all lags.
      bound: the relative bias that is tolerated, in (0, 1).

    Returns:
      An `AdaptiveTruncation`.

    Raises:
      ValueError: ``bound`` lies outside (0, 1), there are less than two lags, lags are left out, or
        a norm is negative or not finite.

    Example:
      >>> found = adaptive_truncation([0.5**j for j in range(20)], 0.1)
      >>> found.kind, round(found.decay, 3)  # 0.5 ** (3 + 1) is the first below 0.1
      (Sliding(steps=3), 0.5)

    Reference:
      Aicher, Foti and Fox, Adaptively truncating backpropagation through time to control gradient
      bias, UAI 2019.
    """
    check_bound(bound)
    phi = _norms(norms)
    last = len(phi) - 1
    decay = _decay(phi)
    if decay >= 1:
        return AdaptiveTruncation(None, decay, np.full(len(phi), np.inf))
    rest = phi[-1] * decay / (1 - decay)
    lost = np.append(np.cumsum(phi[:0:-1])[::-1], 0) + rest
    kept = (np.cumsum(phi) - lost).max()
    if kept <= 0:
        silent = not lost.any()  # there is no gradient that anything could be missing of
        bias = np.full(len(phi), 0.0 if silent else np.inf)
        return AdaptiveTruncation(0 if silent else None, decay, bias)
    bias = lost / kept
    within = np.flatnonzero(bias <= bound)
    if within.size:
        return AdaptiveTruncation(int(within[0]), decay, bias)
    further = math.ceil(math.log(bound / bias[-1]) / math.log(decay))
    return AdaptiveTruncation(last + further, decay, bias)


def check_bound(bound: float) -> None:
    """Raise ValueError unless a bound on the relative bias lies in (0, 1)."""
    if not 0 < bound < 1:
        raise ValueError(f"the bound on the relative bias must lie in (0, 1), not {bound}")


def _norms(norms: GradientFlow | Norms) -> np.ndarray:
    if isinstance(norms, GradientFlow):
        if norms.lags.tolist() != list(range(len(norms.lags))):
            raise ValueError("lags are left out: measure gradient_flow() with lags=None")
        norms = norms.mean
    phi = np.asarray(norms, np.float64)
    if phi.ndim != 1 or len(phi) < 2:
        raise ValueError(f"norms must be float[K] for at least two lags, not of shape {phi.shape}")
    if not (np.isfinite(phi) & (phi >= 0)).all():
        raise ValueError("norms must be finite and at least 0, but one is not")
    return phi


def _decay(phi: np.ndarray) -> float:
    """``β`` of the further half of the lags that carry a gradient; 0 where the last has none."""
    if not phi[-1]:
        return 0.0
    last = len(phi) - 1
    # Lag 0 is measured at the output and not at the carry.
    first = min(max(1, (last + 1) // 2), last - 1)
    lags = np.arange(first, last + 1)[phi[first:] > 0]
    if len(lags) < 2:
        return 0.0
    slope, _ = np.polyfit(lags, np.log(phi[lags]), 1)
    return float(np.exp(slope))
