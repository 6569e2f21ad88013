"""NumPy with hand-written derivatives: a loop over rows and steps, and a loop over steps alone.

"numpy-vectorised" is what a good NumPy programmer writes: all rows at once, the input product of
all steps before the loop, the weights' gradients after it. "numpy-loop" does that row by row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.measuring import flops
from benchmarks.measuring.implementation import Prepared, Unavailable
from benchmarks.measuring.workloads import Arrays, Recurrence

__all__ = ["NOTE", "PACKAGES", "build"]

PACKAGES = ("numpy",)
# What is not the same work, or chosen for it; for the page.
NOTE = (
    "has no differentiation: the derivatives are written by hand. The vectorised form multiplies "
    "the inputs of all steps before its loop and takes the weights' gradients after it, in one "
    "product each; the loop does so for one row after another. At B = 1 the two are the same."
)

# A row at a time, a loop reads its matrix from memory T·B times: some GFLOP/s at most.
_LOOP_FLOPS = 3e9
_VECTORISED_FLOPS = 1e12


def build(name: str, workload: Recurrence, arrays: Arrays) -> _Numpy:
    """Either of the two, in float32 or float64."""
    if workload.dtype not in ("float32", "float64"):
        raise Unavailable(f"NumPy has no products in {workload.dtype}")
    loop = name == "numpy-loop"
    work = flops.layer_pass(workload, "forward").flops
    limit = _LOOP_FLOPS if loop else _VECTORISED_FLOPS
    if work > limit:
        raise Unavailable(f"left out above {limit / 1e9:,.0f} GFLOP forward: {work / 1e9:.0f} here")
    return _Numpy(workload.equations, workload.cell, arrays, loop)


@dataclass(frozen=True)
class _Numpy:
    equations: str
    cell: str
    arrays: Arrays
    loop: bool

    def prepare(self, pass_name: str) -> Prepared:
        functions: dict[str, Callable[[], Arrays]] = {
            "forward": self._forward,
            "forward+backward": self._both,
        }
        if pass_name not in functions:
            raise Unavailable("NumPy has no call of many steps")
        function = functions[pass_name]
        return Prepared(function, function, equations=self.equations)

    def _forward(self) -> Arrays:
        parts = [_forward(self.cell, self.arrays, rows, keep=False)[0] for rows in self._rows()]
        return {"ys": np.concatenate(parts, axis=1)}

    def _both(self) -> Arrays:
        arrays, by_xs = self.arrays, []
        total: Arrays = {}
        loss = 0.0
        for rows in self._rows():
            ys, saved = _forward(self.cell, arrays, rows)
            weights = arrays["weights"][:, rows]
            loss += float((ys * weights).sum())
            gradient = _backward(self.cell, arrays, rows, ys, saved, weights)
            by_xs.append(gradient.pop("xs"))
            for name, array in gradient.items():
                total[name] = total[name] + array if name in total else array
        return {"loss": np.asarray(loss), "xs": np.concatenate(by_xs, axis=1), **total}

    def _rows(self) -> list[slice]:
        batch = self.arrays["xs"].shape[1]
        return [slice(b, b + 1) for b in range(batch)] if self.loop else [slice(None)]


def _sigmoid(x: Any) -> Any:
    return 0.5 + 0.5 * np.tanh(0.5 * x)


def _product(steps: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """``steps @ matrix`` as one product, where NumPy multiplies three axes step by step."""
    return (steps.reshape(-1, steps.shape[-1]) @ matrix).reshape(*steps.shape[:-1], matrix.shape[1])


def _forward(
    cell: str, arrays: Arrays, rows: slice, *, keep: bool = True
) -> tuple[np.ndarray, list[Any]]:
    """Outputs ``[T, B, H]`` and, if they are to be kept, what each step's derivative needs."""
    xs, w_hh = arrays["xs"][:, rows], arrays["w_hh"]
    zs = _product(xs, arrays["w_ih"]) + arrays["b"]
    size = len(w_hh)
    ys = np.empty((*xs.shape[:2], size), xs.dtype)
    h = np.zeros(ys.shape[1:], xs.dtype)
    c = h
    saved: list[Any] = []
    for t, z in enumerate(zs):
        product = h @ w_hh
        if cell == "gru":
            inner = product[:, 2 * size :] + arrays["b_hn"]
            r, u = np.split(_sigmoid(z[:, : 2 * size] + product[:, : 2 * size]), 2, axis=1)
            n = np.tanh(z[:, 2 * size :] + r * inner)
            if keep:
                saved.append((h, r, u, n, inner))
            h = (1 - u) * n + u * h
        elif cell == "lstm":
            z = z + product
            i, f = np.split(_sigmoid(z[:, : 2 * size]), 2, axis=1)
            g, o = np.tanh(z[:, 2 * size : 3 * size]), _sigmoid(z[:, 3 * size :])
            before, c = c, f * c + i * g
            tanh_c = np.tanh(c)
            if keep:
                saved.append((i, f, g, o, before, tanh_c))
            h = o * tanh_c
        else:
            h = np.tanh(z + product) if cell == "rnn" else np.maximum(z + product, 0)
        ys[t] = h
    return ys, saved


def _backward(
    cell: str, arrays: Arrays, rows: slice, ys: np.ndarray, saved: list[Any], dys: np.ndarray
) -> Arrays:
    """The gradients of ``sum(ys * dys)``."""
    xs, w_hh = arrays["xs"][:, rows], arrays["w_hh"]
    size, columns = w_hh.shape
    dzs = np.empty((*ys.shape[:2], columns), ys.dtype)
    drs = dzs if cell != "gru" else np.empty_like(dzs)  # of the recurrent product
    dh = np.zeros(ys.shape[1:], ys.dtype)
    dc = dh
    for t in reversed(range(len(ys))):
        dh = dh + dys[t]
        if cell == "gru":
            before, r, u, n, inner = saved[t]
            dn = dh * (1 - u) * (1 - n * n)
            du = dh * (before - n) * u * (1 - u)
            dr = dn * inner * r * (1 - r)
            dzs[t] = np.concatenate([dr, du, dn], axis=1)
            drs[t] = np.concatenate([dr, du, dn * r], axis=1)
            dh = drs[t] @ w_hh.T + dh * u
            continue
        if cell == "lstm":
            i, f, g, o, before, tanh_c = saved[t]
            dc = dc + dh * o * (1 - tanh_c * tanh_c)
            gates = (
                dc * g * i * (1 - i),
                dc * before * f * (1 - f),
                dc * i * (1 - g * g),
                dh * tanh_c * o * (1 - o),
            )
            dzs[t] = np.concatenate(gates, axis=1)
            dc = dc * f
        else:
            dzs[t] = dh * (1 - ys[t] * ys[t]) if cell == "rnn" else dh * (ys[t] > 0)
        dh = dzs[t] @ w_hh.T
    before_all = np.concatenate([np.zeros_like(ys[:1]), ys[:-1]])
    flat = dzs.reshape(-1, columns)
    gradients = {
        "w_ih": xs.reshape(len(flat), -1).T @ flat,
        "w_hh": before_all.reshape(len(flat), -1).T @ drs.reshape(-1, columns),
        "b": flat.sum(axis=0),
        "xs": _product(dzs, arrays["w_ih"].T),
    }
    if cell == "gru":
        gradients["b_hn"] = drs[..., 2 * size :].sum(axis=(0, 1))
    return gradients
