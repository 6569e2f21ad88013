"""PyTorch's forms: what is looked up, sparse gradients and threads change no result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from benchmarks.measuring import language
from benchmarks.measuring.implementation import TRIED
from benchmarks.measuring.workloads import Language, Recurrence
from tests.benchmarks.clock import Clock

torch = pytest.importorskip("torch")

from benchmarks.peers import pytorch  # noqa: E402
from benchmarks.peers.language_pytorch import _Trainer  # noqa: E402
from benchmarks.peers.pytorch_model import build_model  # noqa: E402

# One-hot inputs longer than the gates, and shorter.
LONG = Language("test", "gru", 30, 4, 2, 6, None, 2)
SHORT = replace(LONG, vocab=7)
EMBEDDED = replace(LONG, embedding=3)


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("workload", [LONG, SHORT, replace(LONG, optimizer="adam")])
def test_one_hot_inputs_that_are_looked_up_are_the_oracles(cell: str, workload: Language) -> None:
    workload = replace(workload, cell=cell)
    language._open(workload, "step")("torch").call()
    model = build_model(workload, workload.arrays())
    longer = workload.vocab > workload.arrays()["w_ih.0"].shape[1]
    assert (model.rows is not None) == longer == (model.identity is None)


@pytest.mark.parametrize("workload", [LONG, EMBEDDED], ids=["rows", "embedding"])
def test_sparse_gradients_train_alike(workload: Language) -> None:
    arrays, tokens = workload.arrays(), workload.tokens(3).astype(np.int64)
    trainers = [_Trainer.build(workload, arrays, False, sparse) for sparse in (False, True)]
    for batch in torch.tensor(tokens):
        dense, sparse = (trainer.wait_for(batch) for trainer in trainers)
        assert dense == pytest.approx(sparse, rel=1e-6)
    want, got = (trainer.model.named() for trainer in trainers)
    for name, array in want.items():
        np.testing.assert_allclose(got[name], array, rtol=1e-5, atol=1e-7)


def test_the_number_of_threads_is_set_for_a_call_and_set_back() -> None:
    most, seen = torch.get_num_threads(), []
    pytorch.on_threads(lambda: seen.append(torch.get_num_threads()), 1)()
    assert seen == [1] and torch.get_num_threads() == most
    assert pytorch.fastest_threads(lambda: None) in {1, most}
    with pytest.raises(ZeroDivisionError):
        pytorch.on_threads(lambda: 1 // 0, 1)()
    assert torch.get_num_threads() == most


@pytest.mark.parametrize("best", [1, 2])
def test_threads_are_chosen_by_calls_after_the_one_that_compiles(
    best: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, threads = Clock(), [2]
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads[0])
    monkeypatch.setattr(torch, "set_num_threads", lambda number: threads.__setitem__(0, number))
    # Compiling takes longest where the call is fastest, and is done anew on each number.
    calls: dict[int, Callable[[], None]] = {
        number: clock.lasting("", *((64.0, 1.5) if number == best else (8.0, 3.0)))
        for number in (1, 2)
    }
    assert pytorch.fastest_threads(lambda: calls[threads[0]](), clock=clock) == best
    assert threads == [2]


@pytest.mark.parametrize(("name", "tried"), [("torch", TRIED), ("torch-compile", TRIED + 1)])
def test_threads_of_a_long_layer_are_tried_on_its_first_steps(
    name: str, tried: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "compile", lambda module: module)
    lengths = []

    def choose(call: Callable[[], Any]) -> int:
        lengths.append(len(call()[1]))
        return 1

    monkeypatch.setattr(pytorch, "fastest_threads", choose)
    workload = Recurrence("gru", 1, TRIED + 1, 3, 2)
    arrays = workload.arrays()
    prepared = pytorch.build(name, workload, arrays).prepare("forward+backward")
    assert lengths == [tried]
    assert prepared.result()["xs"].shape == arrays["xs"].shape
    assert prepared.facts is not None and prepared.facts() == {"threads": 1}
