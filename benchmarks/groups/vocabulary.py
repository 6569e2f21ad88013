"""What the vocabulary costs: training steps with V from 1,024 to 262,144."""

from __future__ import annotations

from benchmarks.group import COLUMNS, Group
from benchmarks.measuring import language
from benchmarks.measuring.case import Case, Options
from benchmarks.measuring.workloads import Language
from benchmarks.peers import OURS
from benchmarks.reporting.sections import PLAIN_COLUMNS, plain

__all__ = ["GROUP"]

# By whether the run is a quick one.
_WORKLOADS: dict[bool, tuple[Language, ...]] = {
    False: tuple(Language("softmax", "gru", 1024 * 4**n, 128, 4, 35, 128) for n in range(5)),
    True: tuple(Language("softmax", "gru", 256 * 4**n, 32, 4, 12, 32) for n in range(3)),
}


_NAMES = (OURS, language.LOGITS, language.OPTAX, "torch", language.TORCH_CHUNKED)


def _cases(options: Options) -> list[Case]:
    return [
        language.case(GROUP.name, workload, "step", options, rank=1 + index % 2, names=_NAMES)
        for index, workload in enumerate(_WORKLOADS[options.quick])
    ]


GROUP = Group(
    "vocabulary",
    _cases,
    COLUMNS,
    f"Softmax over growing vocabularies, whole training steps of plain SGD. `{language.LOGITS}` "
    f"is our step by a loss that has all logits, `{language.OPTAX}` a scan of the equations with "
    f"optax's loss and optimiser, `{language.TORCH_CHUNKED}` PyTorch with its own loss without "
    "all logits (`torch.nn.functional.linear_cross_entropy`). It takes chunk_rows of the rows at "
    "once: a quarter of them, or 0 for its own choice, fewer the more words there are and down "
    "to one, whichever is faster; where a row is marked as of the library's default, no other "
    "was tried, and it says nothing of that loss at its best. With few words ours has all "
    "logits, too. temp_mb is what a compiled program holds beside its arguments and results; "
    "PyTorch has no such figure.",
    plain((*PLAIN_COLUMNS, "chunk_rows", "temp_mb")),
)
