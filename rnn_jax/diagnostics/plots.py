"""Plots of the diagnostics; matplotlib is imported only when one is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from rnn_jax.diagnostics.gradient_flow import GradientFlow
from rnn_jax.diagnostics.saturation import HIGH, LOW, GateSaturation
from rnn_jax.types import Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_gate_saturation", "plot_gradient_flow", "plot_state_jacobians"]


def plot_gradient_flow(flows: Mapping[str, GradientFlow]) -> Figure:
    """Mean gradient norms against the lag, on a logarithmic scale, one line for each label.

    A line ends where the gradient is exactly zero, with a dot at the last lag before that.

    Args:
      flows: a `GradientFlow` by label.

    Example:
      >>> import jax, rnn_jax
      >>> from rnn_jax.diagnostics import gradient_flow, plot_gradient_flow
      >>> layer = rnn_jax.recurrent(rnn_jax.elman(3))
      >>> params = layer.init(jax.random.key(0), 4)
      >>> flow = gradient_flow(layer, params, None, jax.numpy.ones((6, 2, 4)))
      >>> figure = plot_gradient_flow({"tanh": flow})
      >>> figure.axes[0].get_xlabel()
      'lag k'
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = figure.add_subplot()
    for name, flow in flows.items():
        lags, mean = np.asarray(flow.lags), np.asarray(flow.mean)
        shown = np.flatnonzero(mean > 0)
        # Zero has no logarithm: NaN interrupts the line.
        (line,) = axes.plot(lags, np.where(mean > 0, mean, np.nan), label=name)
        if len(shown) and shown[-1] < len(mean) - 1:
            last = shown[-1:]
            axes.plot(lags[last], mean[last], marker="o", color=line.get_color())
    axes.set(xlabel="lag k", ylabel="mean norm of ∂L(t) / ∂h(t-k)", yscale="log")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def plot_state_jacobians(singular_values: Mapping[str, Array]) -> Figure:
    """Singular values of the state Jacobians against the step, one panel for each label.

    The lines are the largest, the median and the smallest one, each as its median over the rows;
    the shaded area spans all of them.

    Args:
      singular_values: ``float[T, B, S]`` by label, as `state_jacobians` returns them.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(3.6 * max(len(singular_values), 1), 3.4), layout="constrained")
    panels = figure.subplots(1, max(len(singular_values), 1), sharey=True, squeeze=False)[0]
    for axes, (name, array) in zip(panels, singular_values.items(), strict=False):
        values = np.asarray(array)
        values = values.reshape(len(values), -1, values.shape[-1])  # [T, rows, S]
        steps = np.arange(len(values))
        axes.fill_between(
            steps, values.min((1, 2)), values.max((1, 2)), alpha=0.15, color="C0", label="all"
        )
        middle = values.shape[-1] // 2
        for index, label in ((0, "largest"), (middle, "median"), (-1, "smallest")):
            axes.plot(steps, np.median(values[:, :, index], axis=1), label=label)
        axes.axhline(1, color="gray", linestyle="--")
        axes.set(xlabel="step t", title=name)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("singular values of ∂h(t) / ∂h(t-1)")
    panels[-1].legend()
    return figure


def plot_gate_saturation(saturation: GateSaturation) -> Figure:
    """Above, histograms of the gates; below, how often the gate of each unit is shut and open.

    The gate of a unit at the lower right is nearly always shut, at the upper left nearly always
    open, and near the origin seldom saturated.

    Args:
      saturation: a `GateSaturation`.
    """
    from matplotlib.figure import Figure

    count = len(saturation.gates)
    figure = Figure(figsize=(2.8 * count, 5.4), layout="constrained")
    panels = figure.subplots(2, count, sharex="row", sharey="row", squeeze=False)
    edges = np.asarray(saturation.edges)
    for gate, name in enumerate(saturation.gates):
        above, below = panels[:, gate]
        above.stairs(np.asarray(saturation.histogram[gate]), edges, fill=True)
        above.set(title=f"gate {name}", xlabel="activation", xlim=(0, 1))
        below.scatter(saturation.low[gate], saturation.high[gate], s=12, alpha=0.6)
        below.plot([0, 1], [1, 0], color="gray", linewidth=0.8)
        below.set(xlabel=f"fraction of steps below {LOW}", xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
        for axes in (above, below):
            axes.grid(alpha=0.3)
    panels[0, 0].set_ylabel("fraction")
    panels[1, 0].set_ylabel(f"fraction of steps above {HIGH}")
    return figure
