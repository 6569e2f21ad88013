"""Serving: token after token, by ours and by what runs an exported model."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from benchmarks.group import COLUMNS, Group
from benchmarks.groups.generation import check_greedy
from benchmarks.measuring.case import Case, Options
from benchmarks.measuring.implementation import Prepared
from benchmarks.measuring.workloads import Language
from benchmarks.peers import OURS
from benchmarks.reporting.sections import LATENCY_COLUMNS, PLAIN_COLUMNS, plain

__all__ = ["GROUP"]

# By whether the run is a quick one.
_TOKENS_A_CALL = 128
_MODELS = {
    False: (
        Language("characters", "gru", 28, 256, 1, _TOKENS_A_CALL),
        Language("characters", "lstm", 28, 256, 1, _TOKENS_A_CALL),
    ),
    True: (Language("characters", "gru", 28, 16, 1, 8),),
}
_BATCHES = (1, 64)

# The files that prepare them, by name: `prepare(name, workload, arrays, prefix)`.
_TOKENS = {
    OURS: "serving_jax",
    "rnn_jax-step": "serving_jax",
    "stablehlo": "serving_jax",
    "onnxruntime": "serving_onnx",
    "torch": "serving_pytorch",
    "torch-compile": "serving_pytorch",
}
# The layer alone, a step a call, its inputs ready.
_LAYER = {"rnn_jax-step": "serving_jax", "onnxruntime": "serving_onnx"}
_OF = {"token": "the likeliest token of each row", "layer": "a step of the layer alone"}


def _cases(options: Options) -> list[Case]:
    """Every model for one stream and for 64: whole tokens, and calls of the layer alone."""
    return [
        Case(
            GROUP.name,
            pass_name,
            workload.facts() | {"temperature": 0.0},
            tuple(names),
            partial(_open, workload, pass_name, names),
            of=_OF[pass_name],
            per_second=("tokens", batch),
            latency=True,
            ours=next(iter(names)),
        )
        for model in _MODELS[options.quick]
        for batch in _BATCHES
        for workload in [replace(model, batch=batch)]
        for pass_name, names in (("token", _TOKENS), ("layer", _LAYER))
    ]


def _open(workload: Language, pass_name: str, names: dict[str, str]) -> Callable[[str], Prepared]:
    arrays = workload.arrays()
    prefix = workload.tokens(1)[0, :1]
    states: list[np.ndarray] = []

    def prepare(name: str) -> Prepared:
        module = importlib.import_module(f"benchmarks.peers.{names[name]}")
        if pass_name == "token":
            prepared: Prepared = module.prepare(name, workload, arrays, prefix)
            check_greedy(workload, arrays, prefix, prepared.result()["tokens"])
            return prepared
        prepared = module.prepare_layer(name, workload, arrays)
        states.append(prepared.result()["ys"])
        np.testing.assert_allclose(states[-1], states[0], rtol=1e-5, atol=1e-6)
        return prepared

    return prepare


GROUP = Group(
    "serving",
    _cases,
    (*COLUMNS, *LATENCY_COLUMNS[1:]),
    "Serving: the likeliest token of each row, fed back. `rnn_jax` is `generate`, "
    f"{_TOKENS_A_CALL} tokens in one compiled call, timed as a whole; all others make a call a "
    "token and hand each over before the next. `stablehlo` and `onnxruntime` run the exported "
    "model. `layer` is a step of the recurrent layer alone, its input ready, and its ratio is to "
    "`rnn_jax-step`.",
    plain((*PLAIN_COLUMNS, *LATENCY_COLUMNS)),
)
