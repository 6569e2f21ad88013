"""What many devices send, reckoned: against compiled programs, by hand, and as the page has it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import pytest

from benchmarks.__main__ import main
from benchmarks.measuring import sending
from benchmarks.measuring.compiled import AllReduce, all_reduces
from benchmarks.measuring.sending import LINKS, MODELS, Link, Machine
from benchmarks.measuring.worker import Worker
from benchmarks.measuring.workloads import Language
from benchmarks.peers import OURS
from benchmarks.peers.data_parallel import spread
from benchmarks.reporting.scale import tables
from tests.project.pages import ROOT


def small(model: Language, **sizes: Any) -> Language:
    """The same model with few units, so that it is compiled quickly."""
    embedding = None if model.embedding is None else 5
    few = {"vocab": 11, "hidden": 6, "embedding": embedding, "batch": 8, "length": 3}
    return replace(model, **{**few, **sizes})


def offered() -> dict[str, Callable[..., Any]]:
    """Runs in a process with eight virtual devices."""
    assert jax.device_count() == 8

    def compiled(model: Language, count: int) -> list[AllReduce]:
        step, state, batch, _ = spread(OURS, model, model.arrays(), count)
        return all_reduces(step.lower(state, batch).compile().as_text())

    return {"compiled": compiled}


def test_the_compiled_step_sends_the_bytes_that_are_reckoned() -> None:
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}
    worker = Worker(f"{__name__}:offered", environment=flags)
    chosen = [(small(model), (2, 4, 8)[i % 3]) for i, model in enumerate(MODELS)]
    chosen += [(small(MODELS[3]), 2), (small(MODELS[3]), 4)]  # the fourth on all of them
    chosen += [(small(MODELS[3], dtype="bfloat16"), 2)]  # summed in float32
    for model, count in chosen:
        wanted = [AllReduce(sending.gradient_bytes(model), loops=0, runs=1)]
        assert worker.call("compiled", model, count) == wanted, (model, count)


def test_parameters_of_known_models() -> None:
    by_title = {model.title: model for model in MODELS}
    medium = by_title["ptb-medium"]
    lstm = 4 * 650 * (650 + 650 + 1)
    assert sending.parameters(medium) == 10_000 * 650 + 2 * lstm + (650 + 1) * 10_000
    assert sending.gradient_bytes(medium) == 4 * sending.parameters(medium) + 4
    # Merity et al. give 24 million for Penn Treebank.
    assert round(sending.parameters(by_title["awd"]) / 1e6) == 24
    in_loop = 2 * 4 * 650 * 650 * 4
    more = sending.plain_scan_bytes(medium) - sending.gradient_bytes(medium)
    assert more == (medium.length - 1) * in_loop


def test_a_ring_by_hand() -> None:
    link = Link("", bandwidth=10.0, latency=1.0, most=8, source="")
    # Of 40 bytes each of four devices sends 6 parts of 10, a second and one hop each.
    assert sending.ring_seconds(40, link, 4) == 6 * (1 + 1)
    assert sending.ring_seconds(40, link, 1) == 0


def test_the_machine_is_the_published_one() -> None:
    machine = sending.published_machine()
    assert machine.rate == pytest.approx(3 * 2 * 25 * 128 * 4 * 1024 * 1024 / 8.38e-3)
    assert machine.step == pytest.approx(9.83e-3 / 150)


def test_rows_that_hide_and_rows_that_keep_a_device_busy() -> None:
    model = Language("", "rnn", 10, 10, 1, 5, 10)
    assert sending.row_flops(model) == 6 * 5 * (10 * 20 + 10 * 10)
    machine = Machine(rate=9000.0, step=0.2)  # a row a second, a second of steps at least
    assert machine.compute_seconds(model, 3) == 3 and machine.compute_seconds(model, 0.5) == 1
    assert machine.busy_rows(model) == 1
    assert machine.hiding_rows(model, 2.5) == 3 and machine.hiding_rows(model, 0.5) == 1


def test_rows_of_an_embedding_are_less_than_the_table_up_to_a_number_of_devices() -> None:
    model = Language("", "rnn", 1000, 4, 2, 5, 3)
    assert sending.dense_table_bytes(model, 2) == 1000 * 3 * 4
    assert sending.touched_rows_bytes(model, 2) == 10 * (3 + 1) * 4
    even = 2 * 1000 * 3 / (10 * 4)
    assert sending.touched_rows_bytes(model, 149) < sending.dense_table_bytes(model, 149)
    assert sending.touched_rows_bytes(model, 151) > sending.dense_table_bytes(model, 151)
    assert even == 150


def test_the_page_has_the_tables_that_the_command_prints(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["scale"]) == 0
    printed = capsys.readouterr().out
    page = (ROOT / "docs" / "past-this-machine.md").read_text(encoding="utf-8")
    assert printed.startswith("A device of 9.6 TFLOP/s that takes 66 µs a step")
    for title, lines in tables(sending.published_machine()).items():
        assert f"{title}\n\n{lines}" in printed
        assert lines in page, title
    assert all(link.name in page for link in LINKS)


def test_another_machine_and_bad_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scale", "--tflops", "50", "--step-us", "10"]) == 0
    assert "A device of 50.0 TFLOP/s that takes 10 µs" in capsys.readouterr().out
    for option in ("--tflops", "--step-us"):
        assert main(["scale", option, "0"]) == 2
        assert f"{option} must be above 0" in capsys.readouterr().err
