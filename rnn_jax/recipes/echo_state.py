"""An echo state network that predicts the Mackey-Glass equation, its read-out in closed form.

A fixed random reservoir is driven by 3,000 steps of the series (delay 17, squashed by tanh(y - 1));
ridge regression reads the next value off its states. Then it runs freely, on its own predictions:
the error 84 steps on, divided by the deviation of the series, is the literature's measure NRMSE84.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

import rnn_jax
from rnn_jax.layers.base import run as run_layer
from rnn_jax.layers.wrapper import Wrapper
from rnn_jax.recipes.figure import line_figure
from rnn_jax.recipes.folder import RecipeFolder
from rnn_jax.recipes.mackey_glass import mackey_glass
from rnn_jax.recipes.options import RecipeOptions, option
from rnn_jax.types import Along, Array, Carry, Params

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["NETWORKS", "Network", "Options", "run", "train_and_run_freely"]

TRAIN, WASHOUT, DRIVEN, HORIZON = 3000, 1000, 1000, 84
TRIALS, FREE = 100, 500


@dataclass(frozen=True)
class Network:
    """A published network: a reservoir of its size, and the NRMSE84 that it reached."""

    source: str
    cell: rnn_jax.EchoState
    published: float


NETWORKS = (
    # The settings published, but for the form of the leak; the bias is an input of 0.2 there.
    Network(
        "Jaeger 2001, 400 units",
        rnn_jax.echo_state(
            400, spectral_radius=0.9, sparsity=0.98, leak=0.4, input_scale=0.56, bias_scale=0.03
        ),
        0.00028,
    ),
    # Of its settings only the size and the error are taken over.
    Network(
        "Jaeger and Haas 2004, 1,000 units",
        rnn_jax.echo_state(1000, spectral_radius=0.8, sparsity=0.99, bias_scale=0.2),
        10**-4.2,
    ),
)


@dataclass(frozen=True)
class Options(RecipeOptions):
    """How many reservoirs are drawn."""

    draws: int = option(5, "Reservoirs of each network; the table gives the median.")
    penalty: float = option(1e-14, "Ridge penalty; larger is more stable and less exact.")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(1, "draws")
        self.above_zero("penalty")


def run(options: Options, folder: RecipeFolder) -> None:
    """Both networks, several draws of each; the small one once with --quick."""
    networks, draws = (NETWORKS[:1], 1) if options.quick else (NETWORKS, options.draws)
    series_key, *keys = jax.random.split(jax.random.key(options.seed), 1 + draws)
    table, curves = [], {}
    with jax.enable_x64(True):  # the error is far below what float32 can tell
        series = mackey_glass(series_key, length=max(TRAIN + 1, DRIVEN + FREE), rows=1 + TRIALS)
        deviation = float(series.std())
        print(f"Mackey-Glass, delay 17: deviation {deviation:.4f}, {TRIALS} trials")
        print("  one-step error  NRMSE84  seconds")
        for network in networks:
            print(network.source)
            errors = []
            for draw, key in enumerate(keys):
                began = time.perf_counter()
                one_step, free = train_and_run_freely(network.cell, key, series, options.penalty)
                true = series[DRIVEN : DRIVEN + FREE, 1:]
                error = np.sqrt(np.mean((np.asarray(free) - true) ** 2, axis=1)) / deviation
                row = {"network": network.source, "draw": draw, "one_step": float(one_step)}
                row |= {"nrmse84": float(error[HORIZON - 1])}
                print(
                    f"{row['one_step']:16.1e} {row['nrmse84']:8.1e} "
                    f"{time.perf_counter() - began:8.1f}",
                    flush=True,
                )
                folder.history(row)
                errors.append(error)
                figure = free_run_figure(np.asarray(true[:, 0]), np.asarray(free[:, 0]))
            at_horizon = sorted(error[HORIZON - 1] for error in errors)
            spread = shown(np.median(at_horizon)), f"{at_horizon[0]:.1e} … {at_horizon[-1]:.1e}"
            table.append([network.source, shown(network.published), *spread])
            curves[network.source] = np.median(errors, axis=0), network.published
    folder.figure("error", error_figure(curves))
    folder.figure("free_run", figure)
    folder.close(["NRMSE84", "published", "here, median", "lowest … highest"], table)


@dataclass(frozen=True)
class WithInput(Wrapper):
    """A layer whose input of one feature stands beside its outputs: a read-out sees both."""

    @property
    def output_size(self) -> int:
        """``H + 1``."""
        return (self.layer.output_size or 1) + 1

    def run(
        self, params: Params, carry: Carry, xs: Array, along: Along, *, every: bool
    ) -> tuple[Carry, Array]:
        """``[y_t, x_t]``."""
        carry, ys = run_layer(self.layer, params, carry, xs, along, every=every)
        return carry, jnp.concatenate([ys, xs], axis=-1)


@partial(jax.jit, static_argnums=0)
def train_and_run_freely(
    cell: rnn_jax.EchoState, key: Array, series: Array, penalty: float
) -> tuple[Array, Array]:
    """The one-step error on what was trained on, and free runs of the other rows ``[FREE, B]``.

    ``series`` is ``float[T, 1 + B]``: its first row trains the read-out; each other one drives the
    network for `DRIVEN` steps, after which the network reads its own predictions.
    """
    squashed = jnp.tanh(series - 1)[..., None]
    network = rnn_jax.serial(WithInput(rnn_jax.recurrent(cell)), rnn_jax.linear(1))
    reservoir, read_out = network.layers
    weights = jax.tree.map(lambda p: p.astype(series.dtype), cell.init(key, 1))
    inputs, targets = squashed[:TRAIN, :1], squashed[1 : TRAIN + 1, :1]
    _, features = reservoir.apply(weights, None, inputs)
    fitted = rnn_jax.ridge(features, targets, penalty=penalty, washout=WASHOUT)
    misses = (read_out.apply(fitted, (), features)[1] - targets)[WASHOUT:]
    params = {"0": weights, "1": fitted}
    _, free = rnn_jax.run_freely(network, params, None, squashed[:DRIVEN, 1:], length=FREE)
    # One that has left the attractor is wrong enough at its border.
    unsquashed = 1 + jnp.arctanh(jnp.clip(free[..., 0], -0.999, 0.999))
    return jnp.sqrt((misses**2).mean()), unsquashed


def shown(error: float | Array) -> str:
    """An error and its logarithm, which is how the literature gives it.

    Example:
      >>> shown(10**-4.2)
      '6.3e-05 (10^-4.20)'
    """
    return f"{error:.1e} (10^{np.log10(error):.2f})"


def error_figure(curves: dict[str, tuple[np.ndarray, float]]) -> Figure:
    """The error of free runs against their length, with the published ones at 84 steps."""
    figure = line_figure(
        {name: (range(1, len(error) + 1), error.tolist()) for name, (error, _) in curves.items()},
        xlabel="steps run freely",
        ylabel="normalised error, median of the draws",
        log=True,
    )
    axes = figure.axes[0]
    for line, (_, published) in zip(axes.get_lines(), curves.values(), strict=True):
        axes.plot(HORIZON, published, "o", color=line.get_color(), label="published, 84 steps")
    axes.legend()
    return figure


def free_run_figure(true: np.ndarray, free: np.ndarray) -> Figure:
    """One trial: the series and what the network makes of it."""
    steps = range(1, len(true) + 1)
    figure = line_figure(
        {"Mackey-Glass": (steps, true.tolist()), "the network, freely": (steps, free.tolist())},
        xlabel="steps",
        ylabel="y",
    )
    figure.axes[0].get_lines()[1].set_linestyle("--")  # else it hides the other
    return figure
