"""Whole training steps of language models: a call a step, 20 steps in one call, and `fit`."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.group import COLUMNS, Group
from benchmarks.measuring import fitting, language
from benchmarks.measuring.case import Case, Options
from benchmarks.measuring.workloads import Language, Noise
from benchmarks.reporting.pictures import Pictures
from benchmarks.reporting.sections import plain
from benchmarks.reporting.summary import NotedRow
from benchmarks.rows import Row

__all__ = ["GROUP"]

_CHARACTERS = Language("characters", "gru", 28, 256, 32, 35, learning_rate=1.0, clip=1.0)
_TWO_LAYERS = Language("two-layers", "lstm", 8000, 256, 64, 35, 256, 2, 1e-3, 1.0, optimizer="adam")
_AWD = Language("awd", "lstm", 10_000, 1150, 20, 70, 400, 3, 30.0, 0.25, tied=True)
_SMALL = Language("stack", "lstm", 300, 32, 4, 8, 32, 2, 1e-3, 1.0, optimizer="adam")
_SMALL_AWD = Language("awd", "lstm", 300, 32, 4, 8, 16, 3, 30.0, 0.25, tied=True)

# By whether the run is a quick one. D2L's characters, the reference model's words behind an
# embedding, which that has not, Zaremba et al.'s
# small and medium models (without dropout), two layers under Adam, and Merity et al.'s model.
_WORKLOADS: dict[bool, tuple[Language, ...]] = {
    False: (
        _CHARACTERS,
        Language("embedded-words", "rnn", 8000, 100, 1, 45, 100, learning_rate=0.005),
        _TWO_LAYERS,
        Language("ptb-small", "lstm", 10_000, 200, 20, 20, 200, 2, 1.0, 5.0),
        Language("ptb-medium", "lstm", 10_000, 650, 20, 35, 650, 2, 1.0, 5.0),
        _AWD,
        replace(_AWD, noise=Noise()),
    ),
    True: (
        Language("characters", "gru", 28, 32, 4, 12, learning_rate=1.0, clip=1.0),
        Language("embedded-words", "rnn", 300, 16, 1, 12, 16),
        _SMALL,
        replace(_SMALL_AWD, noise=Noise()),
    ),
}
# And how many steps a call of `fit` takes: some seconds of them.
_FITTED: dict[bool, tuple[tuple[Language, int], ...]] = {
    False: ((_TWO_LAYERS, 20), (_CHARACTERS, 200)),
    True: ((_SMALL, 20),),
}


def _cases(options: Options) -> list[Case]:
    steps = [
        language.case(GROUP.name, workload, pass_name, options, rank=0 if index < 3 else 1)
        for index, workload in enumerate(_WORKLOADS[options.quick])
        for pass_name in ("step", "many-steps")
    ]
    whole = [
        fitting.case(GROUP.name, workload, options, pass_name, count)
        for workload, count in _FITTED[options.quick]
        for pass_name in (fitting.FIT, fitting.CHECKPOINT)
    ]
    return steps + whole


def _closing(rows: list[Row]) -> None:
    found = fitting.findings(rows)
    if found:
        print("\n" + "\n".join(found))


def _section(group: Group, rows: list[NotedRow], pictures: Pictures) -> list[str]:
    blocks = plain()(group, rows, pictures)
    found = fitting.findings(rows)
    return [*blocks, "\n".join(f"- {sentence}" for sentence in found)] if found else blocks


GROUP = Group(
    "training",
    _cases,
    COLUMNS,
    "Whole training steps. `fit` is training by `rnn_jax.fit`, beside its bare compiled steps "
    "and the usual loop in PyTorch; `checkpoint` is the same in a folder, without and with a "
    "checkpoint in each call. Workloads named `noise` have AWD-LSTM's variational dropout and "
    "weight drop, each side with numbers of its own; neither has dropout of whole words or the "
    "penalties on activations. No other has dropout, which Zaremba's medium model has in the "
    "paper.",
    _section,
    closing=_closing,
)
