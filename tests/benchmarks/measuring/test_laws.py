"""Laws of a device: they cover the package, hold on a CPU, and see what is wrong or unwritten."""

from __future__ import annotations

import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnn_jax
from benchmarks.groups.laws import GROUP
from benchmarks.measuring import laws
from benchmarks.measuring.case import Options
from benchmarks.measuring.implementation import compile_jax
from benchmarks.measuring.laws_of_generation import GENERATORS
from benchmarks.measuring.members import CELLS, KINDS, Member, layers, of_cell
from benchmarks.measuring.numbers import computing_in
from benchmarks.measuring.oracle import tolerance
from benchmarks.measuring.runner import Limits, measure
from rnn_jax import cells, generation, truncation
from rnn_jax import layers as package_layers

SHAPE = (3, 6, 5, 4)


def measured(name: str, **options: Any) -> Any:
    """The rows of the one case of this name."""
    (case,) = (c for c in GROUP.cases(Options(quick=True, **options)) if c.name.endswith(name))
    return measure(case, lambda row: None, limits=Limits(1, 0.0))


def factories(package: Any) -> set[str]:
    """Its public functions in lower case that make something of the package's own."""
    return {
        name
        for name in package.__all__
        if name[0].islower() and inspect.isfunction(getattr(package, name))
    }


def test_every_cell_layer_truncation_and_generator_has_a_law() -> None:
    made = {type(make(3)) for make in CELLS.values()}
    abstract = {"BaseCell", "GatedCell", "LinearCell", "PointwiseCell", "LSTMCarry", "Form"}
    classes = {
        getattr(cells, name) for name in cells.__all__ if name[0].isupper() and name not in abstract
    }
    assert classes <= made
    named = {name.replace("-", "_") for name in layers(3)} | {"recurrent"}
    helpers = {"adapted", "all_carries", "check_layer", "initial_or", "inside", "run"}
    assert factories(package_layers) - helpers <= named
    kinds = {type(kind).__name__.lower() for kind in KINDS}
    others = {"truncate", "truncated_scan", "parse_truncation", "check_kind"}
    assert factories(truncation) - others == kinds
    assert factories(generation) - {"sampling"} <= set(GENERATORS)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_law_holds_and_its_row_says_by_how_much(dtype: str) -> None:
    with computing_in(dtype, "highest"):
        plain, scan, kernel = measured("laws/tanh-3x11x5x4/values+gradients", dtype=dtype)
        (drawn,) = measured("laws/dropout-3x11x5x4/values+gradients", dtype=dtype)
    names = [row["implementation"] for row in (plain, scan, kernel)]
    assert names == ["rnn_jax", "rnn_jax-scan", "rnn_jax-pallas"]
    if jax.default_backend() != "gpu":
        assert kernel["status"] == "unavailable" and "backend='auto'" in kernel["reason"]
    for row in (plain, scan, drawn):
        assert row["status"] == "ok", row["reason"]
        assert 0 < row["largest_error"] < row["allowed_error"] < 0.05
        assert row["error_in"].startswith(("ys", "carry", "dparams", "dcarry", "dxs"))


@pytest.mark.parametrize("name", ["beam_search", "predict", "run_freely"])
def test_generators_are_held_to_the_reference(name: str) -> None:
    (row,) = measured(f"{name}-5x9x5x23/tokens")
    assert row["status"] == "ok", row["reason"]
    assert row["largest_error"] < row["allowed_error"] == 1e-5


def test_what_computes_something_else_is_wrong() -> None:
    def make(backend: Any, reference: bool) -> rnn_jax.Layer:
        return rnn_jax.recurrent(rnn_jax.elman(5, bias=True), reverse=not reference)

    law = laws.Law("reversed", Member(make), SHAPE, "float32", "highest")
    case = laws.case("group", law, "values+gradients", ("rnn_jax",))
    (row,) = measure(case, lambda row: None, limits=Limits(1, 0.0))
    assert row["status"] == "wrong"
    assert "of the largest element, more than 1.0e-05" in (row["reason"] or "")
    assert row["largest_error"] > 0.01


def test_results_are_written_over_nan() -> None:
    """The donated arrays lend their memory to the results."""
    law = laws.Law("tanh", of_cell("tanh", 5), SHAPE, "float32", "highest")
    layer, drawn = law.member.make("auto", False), laws._draw(law, 0)
    outcome = lambda drawn: laws._outcome(layer, "float32", False, drawn)  # noqa: E731
    shapes = jax.eval_shape(outcome, drawn)
    nan = jax.tree.map(lambda s: jnp.full(s.shape, jnp.nan, s.dtype), shapes)
    memory = {leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(nan)}

    def over(poison: Any, drawn: Any) -> Any:
        return outcome(drawn)

    program = compile_jax(over, nan, drawn, donate=0, keep_unused=True)
    results = program.run(nan, drawn)
    assert {leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(results)} == memory
    assert not any(np.isnan(leaf).any() for leaf in jax.tree.leaves(results))
    assert np.isnan(drawn["xs"]).any()


def test_an_element_that_is_nan_is_an_error_of_nan() -> None:
    good = {"a": np.ones(3), "b": np.full(2, 1e-6)}
    bad = {"a": np.array([1.0, np.nan, 1.0]), "b": np.full(2, 2e-6)}
    errors = laws.relative_error(bad, good)
    assert np.isnan(errors["a"]) and errors["b"] == pytest.approx(1e-4)
    with pytest.raises(Exception, match="its a is off by nan"):
        laws.held(errors, 1.0)


def test_a_backend_that_refuses_is_unavailable_with_its_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(laws, "backend_of", lambda name: "warp")
    law = laws.Law("tanh", of_cell("tanh", 5), SHAPE, "float32", "highest")
    case = laws.case("group", law, "values+gradients", ("rnn_jax-warp",))
    (row,) = measure(case, lambda row: None, limits=Limits(1, 0.0))
    assert row["status"] == "unavailable"
    assert (row["reason"] or "").startswith("backend must be one of")


@pytest.mark.parametrize(
    "backend, precision, relative",
    [
        ("cpu", "default", 1e-5),
        ("gpu", "highest", 1e-5),
        ("gpu", "default", 32 * 2**-11),
        ("tpu", "high", 32 * 2**-11),
        ("tpu", "default", 16 * 2**-8),
    ],
)
def test_float32_is_allowed_what_its_products_are(
    backend: str, precision: str, relative: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    assert tolerance("float32", precision).relative == relative
