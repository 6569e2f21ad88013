"""The benchmarks of whole models: their oracle, their rows, and law 8, data parallelism."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from benchmarks.groups.truncation import TRUNCATIONS
from benchmarks.measuring import language, runner
from benchmarks.measuring.oracle import Wrong
from benchmarks.measuring.workloads import Language, Noise
from benchmarks.peers.language_ours import train_step

SMALL = Language("test", "gru", 7, 4, 2, 6, 3, 2, 0.5, 5.0)
LIMITS = runner.Limits(rounds=1, case_s=0)


@pytest.mark.parametrize("pass_name", ["step", "many-steps"])
def test_a_training_step_is_the_oracles(pass_name: str) -> None:
    prepare = language._open(SMALL, pass_name)
    prepared = prepare("rnn_jax")
    prepared.call()
    assert prepared.steps == (1 if pass_name == "step" else 20)


def test_half_a_step_is_held_to_the_oracle_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    workload = replace(SMALL, dtype="bfloat16")
    language._open(workload, "step")("rnn_jax")
    idle = partial(train_step_of, rate=0.0)
    monkeypatch.setattr(language, "train_step", idle)
    with pytest.raises(Wrong, match="off by"):
        language._open(workload, "step")("rnn_jax")


def train_step_of(workload: Language, arrays: Any, *, rate: float, loss: Any) -> Any:
    return train_step(replace(workload, learning_rate=rate), arrays, loss=loss)


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Whose steps the oracle has let through."""
    names: list[str] = []
    check = language.check_step

    def checked(*args: Any, by: str) -> None:
        check(*args, by=by)
        names.append(by)

    monkeypatch.setattr(language, "check_step", checked)
    return names


@pytest.mark.parametrize("name", [language.LOGITS, language.OPTAX, language.TORCH_CHUNKED])
@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_the_other_softmaxes_take_the_oracles_step(name: str, cell: str, passed: list[str]) -> None:
    if name == language.TORCH_CHUNKED:
        functional = pytest.importorskip("torch").nn.functional
        if not hasattr(functional, "linear_cross_entropy"):
            pytest.skip("PyTorch has had linear_cross_entropy since 2.13")
    workload = replace(SMALL, cell=cell, clip=None)
    language._open(workload, "step")(name).call()
    assert passed == [name]


@pytest.mark.parametrize("choice", [0, -1])
def test_chunks_of_any_size_take_the_oracles_step(
    choice: int, passed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    functional = pytest.importorskip("torch").nn.functional
    if not hasattr(functional, "linear_cross_entropy"):
        pytest.skip("PyTorch has had linear_cross_entropy since 2.13")
    from benchmarks.peers import language_pytorch

    monkeypatch.setattr(language_pytorch, "fastest", lambda calls: list(calls)[choice])
    prepared = language._open(replace(SMALL, clip=None), "step")(language.TORCH_CHUNKED)
    prepared.call()
    assert passed == [language.TORCH_CHUNKED]
    # Its own choice, and a quarter of two times six rows.
    assert prepared.facts is not None
    assert prepared.facts()["chunk_rows"] == (0 if choice == 0 else 3)


@pytest.mark.parametrize("kind", TRUNCATIONS[1:])
def test_every_truncation_is_checked(kind: str) -> None:
    workload = replace(SMALL, truncation=kind.replace("8", "2"), layers=1, embedding=None)
    language._open(workload, "step")("rnn_jax")


def test_tokens_and_weights_are_random_and_the_same_each_time() -> None:
    first, second = SMALL.arrays(), SMALL.arrays()
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name])
        assert array.std() > 0
    assert SMALL.tokens(3).shape == (3, 7, 2)


AWD = Language("awd", "lstm", 30, 8, 4, 6, 5, 3, 30.0, 0.25, tied=True)
ADAM = Language("test", "lstm", 30, 4, 2, 6, 3, 2, 1e-3, 0.05, optimizer="adam")
NOISY = replace(AWD, noise=Noise())


@pytest.mark.parametrize("name", ["rnn_jax", "torch"])
@pytest.mark.parametrize("workload", [AWD, ADAM, NOISY], ids=lambda workload: workload.name)
def test_optimisers_tied_weights_and_noise_are_the_oracles(
    name: str, workload: Language, passed: list[str]
) -> None:
    if name == "torch":
        pytest.importorskip("torch")
    language._open(workload, "step")(name).call()
    assert name in passed


def test_a_tied_model_has_a_last_layer_of_the_embeddings_size() -> None:
    assert AWD.sizes == (8, 8, 5) and "w_out" not in AWD.arrays()
    assert AWD.arrays()["w_hh.2"].shape == (5, 20)
    assert replace(AWD, tied=False).sizes == (8, 8, 8)
    names = {workload.name for workload in (AWD, ADAM, NOISY)}
    assert names == {"awd-lstm-4x6x8x30", "test-lstm-2x6x4x30-adam", "awd-lstm-4x6x8x30-noise"}


def test_a_step_without_its_noise_is_wrong() -> None:
    want = {"loss": np.array(3.0)}
    language.check_step(NOISY, {"loss": np.array(3.1)}, want)
    for loss in (3.0, 4.0, np.nan):
        with pytest.raises(Wrong, match="without noise"):
            language.check_step(NOISY, {"loss": np.array(loss)}, want)
