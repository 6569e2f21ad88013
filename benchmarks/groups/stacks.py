"""An LSTM in both directions, and two above each other, beside a single one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import rnn_jax
from benchmarks.group import COLUMNS, Group
from benchmarks.measuring.case import Case, Options
from benchmarks.measuring.implementation import UNROLLED, JaxImplementation, Prepared
from benchmarks.measuring.layers import OF, TRAINED
from benchmarks.measuring.oracle import check, tolerance
from benchmarks.measuring.workloads import Arrays, Recurrence
from benchmarks.peers import OURS, pytorch
from benchmarks.reporting.sections import plain
from rnn_jax.interop import to_flax, to_torch
from rnn_jax.recurrence.unroll import Backend

__all__ = ["GROUP", "Stacked"]

# By whether the run is a quick one.
_SHAPES = {False: ((32, 35, 256, 28), (20, 35, 650, 650)), True: ((3, 5, 8, 4),)}
_KINDS = ("single", "bidirectional", "stack")


@dataclass(frozen=True)
class Stacked(Recurrence):
    """LSTMs arranged in one of three ways; outputs of both directions stand side by side."""

    kind: str = field(kw_only=True)

    @property
    def name(self) -> str:
        """``kind-cell-BxTxHxD``."""
        return f"{self.kind}-{super().name}"

    def facts(self) -> dict[str, Any]:
        """What every row states about it."""
        return super().facts() | {"layers": 2 if self.kind == "stack" else 1}

    def layer(self, backend: Backend = "auto") -> rnn_jax.Layer:
        """Ours."""
        one = rnn_jax.recurrent(rnn_jax.lstm(self.hidden), backend=backend)
        if self.kind == "bidirectional":
            return rnn_jax.bidirectional(one, replace(one, reverse=True))
        return rnn_jax.serial(one, one) if self.kind == "stack" else one

    def arrays(self) -> Arrays:
        """``xs`` and the loss's ``weights``, standard normal."""
        rng = np.random.default_rng(self.seed)
        steps, directions = (self.length, self.batch), 2 if self.kind == "bidirectional" else 1
        sizes = {"xs": self.features, "weights": directions * self.hidden}
        return {
            name: rng.standard_normal((*steps, size)).astype(self.dtype)
            for name, size in sizes.items()
        }


def _cases(options: Options) -> list[Case]:
    """Every arrangement of every shape, forward, and forward and backward."""
    return [
        Case(
            GROUP.name,
            pass_name,
            workload.facts(),
            (OURS, "torch", "flax-linen-optimized"),
            partial(_open, workload, pass_name),
            of=OF[pass_name],
        )
        for shape in _SHAPES[options.quick]
        for kind in _KINDS
        for workload in [Stacked("lstm", *shape, kind=kind, precision=options.precision)]
        for pass_name in ("forward", TRAINED)
    ]


def _open(workload: Stacked, pass_name: str) -> Callable[[str], Prepared]:
    arrays = workload.arrays()
    params = workload.layer().init(jax.random.key(workload.seed), workload.features)
    builds: dict[str, Callable[..., Any]] = {
        OURS: _ours, "torch": _torch, "flax-linen-optimized": _flax,
    }  # fmt: skip

    @cache
    def wanted() -> Arrays:
        """By the plain scan in float64."""
        with jax.enable_x64(True):
            double = {name: array.astype(np.float64) for name, array in arrays.items()}
            wide = jax.tree.map(lambda p: np.asarray(p, np.float64), params)
            return _results(_ours(workload, double, wide, "scan").prepare(pass_name))

    def prepare(name: str) -> Prepared:
        prepared: Prepared = builds[name](workload, arrays, params).prepare(pass_name)
        allowance = tolerance(workload.dtype, workload.precision, workload.length)
        check(_results(prepared), wanted(), pass_name, allowance)
        return prepared

    return prepare


def _results(prepared: Prepared) -> Arrays:
    """The outputs, or the gradient of the inputs, through which all others pass."""
    return {name: array for name, array in prepared.result().items() if name != "loss"}


def _ours(
    workload: Stacked, arrays: Arrays, params: Any, backend: Backend = "auto"
) -> JaxImplementation:
    layer = workload.layer(backend)

    def apply(params: Any, xs: jax.Array) -> jax.Array:
        return layer.apply(params, None, xs)[1]

    return JaxImplementation(workload.equations, apply, params, lambda gradients: {}, arrays)


def _torch(workload: Stacked, arrays: Arrays, params: Any) -> pytorch.TorchLayer:
    import torch

    device = pytorch.device_of()
    pytorch.set_precision(workload.precision)
    module = torch.nn.LSTM(
        workload.features,
        workload.hidden,
        num_layers=2 if workload.kind == "stack" else 1,
        bidirectional=workload.kind == "bidirectional",
    ).to(device)
    state = to_torch(workload.layer(), params)
    module.load_state_dict({name: pytorch.tensor(array, device) for name, array in state.items()})
    xs, weights = (pytorch.tensor(arrays[name], device) for name in ("xs", "weights"))
    return pytorch.TorchLayer(
        workload.equations, module, xs, weights, lambda gradients: {}, compiled=False
    )


def _flax(workload: Stacked, arrays: Arrays, params: Any) -> JaxImplementation:
    from flax import linen as nn

    def module(unroll: int) -> Any:
        def run() -> Any:
            return nn.RNN(nn.OptimizedLSTMCell(workload.hidden), time_major=True, unroll=unroll)

        if workload.kind == "bidirectional":
            return nn.Bidirectional(run(), run(), time_major=True)
        return nn.Sequential([run(), run()]) if workload.kind == "stack" else run()

    cells = iter(
        to_flax(rnn_jax.lstm(workload.hidden), part) for part in _parts(workload.kind, params)
    )
    shapes = jax.eval_shape(module(1).init, jax.random.key(0), jnp.asarray(arrays["xs"]))["params"]
    # Their order by name is that of the layers, and "backward…" comes before "forward…".
    names = sorted(shapes, reverse=workload.kind == "bidirectional")
    ours: Any = dict(zip(names, cells, strict=True))
    if workload.kind != "single":
        ours = {name: {"cell": cell} for name, cell in ours.items()}

    def unrolled(steps: int) -> Callable[[Any, jax.Array], jax.Array]:
        layer = module(steps)
        return lambda ours, xs: layer.apply({"params": ours}, xs)

    return JaxImplementation(
        workload.equations,
        unrolled(1),
        ours,
        lambda gradients: {},
        arrays,
        unrolled={steps: unrolled(steps) for steps in UNROLLED},
    )


def _parts(kind: str, params: Any) -> Iterator[Any]:
    """The parameters of each LSTM: one, forward and backward, or from the bottom up."""
    names = {"bidirectional": ("forward", "backward"), "stack": ("0", "1")}.get(kind)
    yield from [params] if names is None else [params[name] for name in names]


GROUP = Group(
    "stacks",
    _cases,
    COLUMNS,
    "An LSTM alone, in both directions, and two above each other.",
    plain(("workload", "pass", "implementation", "median_ms", "ratio", "ratio_95", "temp_mb")),
)
