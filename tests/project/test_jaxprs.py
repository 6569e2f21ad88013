"""What the package knows of JAX's internals holds for the JAX at hand, and has a way out."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnn_jax as r
from rnn_jax import LSTM, jaxprs
from rnn_jax.jaxprs import mosaic
from rnn_jax.recurrence import Kernel

ROOT = Path(__file__).parents[2]
X = jax.ShapeDtypeStruct((3,), jnp.float32)
XS = jnp.linspace(-1, 1, 5 * 4 * 2).reshape(5, 4, 2)


# And what writes programs of JAX in another language, operation by operation; what it cannot read
# it refuses by name (tests/export/test_onnx_primitives.py).
TRANSLATORS = {"activations.py", "primitives.py", "translate.py"}


def test_only_one_module_knows_jaxs_internals() -> None:
    internal = re.compile(
        r'make_jaxpr|\bjaxpr\b|jax\.core|jax\.extend|Tracer|"forward-mode"|jax\._src'
    )
    for path in sorted((ROOT / "rnn_jax").rglob("*.py")):
        translates = path.parent.name == "onnx" and path.name in TRANSLATORS
        if path.parent.name != "jaxprs" and not translates:
            found = internal.search(path.read_text(encoding="utf-8"))
            assert found is None, f"{path}: {found}"


def test_every_costly_operation_is_one_of_this_jax() -> None:
    x, n = jnp.ones(2), 2
    unary = (
        jnp.arccos,
        jnp.arccosh,
        jnp.arcsin,
        jnp.arcsinh,
        jnp.arctan,
        jnp.arctanh,
        jnp.cbrt,
        jnp.cos,
        jnp.cosh,
        jax.lax.erf,
        jax.lax.erf_inv,
        jax.lax.erfc,
        jnp.exp,
        jnp.exp2,
        jnp.expm1,
        jnp.log,
        jnp.log1p,
        jax.nn.sigmoid,
        jax.lax.rsqrt,
        jnp.sin,
        jnp.sinh,
        jnp.sqrt,
        jnp.tan,
        jnp.tanh,
        lambda x: jax.lax.integer_pow(x, 3),
        lambda x: jax.lax.pow(x, x),
        lambda x: x / (x + n),
        lambda x: jax.lax.atan2(x, x),
    )

    def everything(x: Any) -> Any:
        return [function(x) for function in unary]

    text = str(jax.make_jaxpr(everything)(x))
    for name in jaxprs.COSTLY:
        assert re.search(rf"\b{name}\b", text), f"{name} is no primitive of JAX {jax.__version__}"


def test_an_lstm_saves_six_arrays() -> None:
    cell, size = LSTM(3), (4, 3)
    unit = jnp.ones(size)
    arguments = ((), r.LSTMCarry(unit, unit), (unit,) * 4, (unit,) * 4)

    def saved(function: Any) -> int:
        _, pullback = jax.jit(lambda *args: jax.vjp(function, *args))(*arguments)
        return sum(leaf.shape == size for leaf in jax.tree.leaves(pullback))

    assert saved(jaxprs.saving_costly(cell.pointwise_all)) == 6 < saved(cell.pointwise_all)


@pytest.mark.parametrize("cell", [r.lstm(3), r.gru(3), r.elman(3)], ids=["lstm", "gru", "elman"])
def test_a_jaxpr_that_cannot_be_read_leaves_the_plain_form(
    cell: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = cell.init(jax.random.key(0), 2)

    def loss(params: Any, xs: Any, backend: Any) -> Any:
        carry, ys = r.unroll(cell, params, None, xs, backend=backend)
        return sum((leaf**2).sum() for leaf in jax.tree.leaves((carry, ys)))

    def both(backend: Any) -> Any:
        # A new function each time: nothing traced before is taken again.
        return jax.jit(jax.value_and_grad(lambda params, xs: loss(params, xs, backend), (0, 1)))(
            params, XS
        )

    expected = both("scan")
    make = jax.make_jaxpr

    class Unknown:
        """A jaxpr of a JAX to come."""

    def unreadable(function: Any, **options: Any) -> Any:
        def trace(*args: Any) -> Any:
            made = make(function, **options)(*args)
            return (Unknown(), made[1]) if options else Unknown()

        return trace

    monkeypatch.setattr(jax, "make_jaxpr", unreadable)
    assert not jaxprs.only_added(lambda a, b: a + b, 1, 1.0, 2.0)
    assert not jaxprs.returns_an_argument(lambda a: a, 1.0)
    assert jaxprs.returns_one_value(lambda a: (a, a), 1.0)
    assert not jaxprs.returns_one_value(lambda a: (a, 2 * a), 1.0)
    assert jaxprs.grouped(jnp.tanh)(0.0) == 0
    r.zoneout(r.lstm(3), 0.1)
    for backend in ("auto", "scan"):
        for leaf, plain in zip(
            jax.tree.leaves(both(backend)), jax.tree.leaves(expected), strict=True
        ):
            np.testing.assert_allclose(leaf, plain, rtol=1e-5, atol=1e-6)


def test_kernels_of_this_jax_are_known() -> None:
    lowered = mosaic._lowered()
    assert {"add", "tanh", "logistic", "select_n", "get", "swap"} <= lowered
    assert "lgamma" not in lowered
    add = jaxprs.kernel_function(lambda a: jax.vjp(lambda x: x * x + jax.nn.relu(x), a)[1](a), X)
    assert "add_any" not in str(jax.make_jaxpr(add)(jnp.ones(3)))
    assert "jit" not in str(jax.make_jaxpr(add)(jnp.ones(3)))
    np.testing.assert_allclose(add(2 * jnp.ones(3))[0], 10 * np.ones(3))
    scaled = np.float32(3)
    assert float(jaxprs.kernel_function(lambda a: a * jnp.asarray(scaled), X)(jnp.ones(3))[0]) == 3


def _in_a_loop(f: Any) -> Any:
    return lambda x: jax.lax.fori_loop(0, 2, lambda i, a: f(a) * x, x)


def _while(f: Any) -> Any:
    return lambda x: jax.lax.while_loop(lambda s: s[0] < 2, lambda s: (s[0] + 1, f(s[1])), (0, x))


def _until(f: Any) -> Any:
    return lambda x: jax.lax.while_loop(lambda x: f(x).sum() < 9, lambda x: x + 1, x)


def _if(f: Any) -> Any:
    return lambda x: jax.lax.cond(x.sum() > 0, lambda x: x, _in_a_loop(f), x)


@pytest.mark.parametrize("within", [_in_a_loop, _while, _until, _if])
def test_what_a_kernel_runs_in_a_loop_or_branch_is_looked_at_too(within: Any) -> None:
    with pytest.raises(ValueError, match="a kernel has no lgamma"):
        jaxprs.kernel_function(within(jax.lax.lgamma), X)
    x, function = jnp.asarray([-0.7, 0.1, 0.3]), within(jax.nn.softplus)
    apply = jaxprs.kernel_function(function, X)
    text = str(jax.make_jaxpr(apply)(x))
    assert "log1p" not in text
    assert "custom_jvp" not in text
    for a, b in zip(jax.tree.leaves(apply(x)), jax.tree.leaves(function(x)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_a_kernel_has_no_derivative_of_a_loop() -> None:
    gradient = jax.grad(lambda x: _in_a_loop(jnp.tanh)(x).sum())
    with pytest.raises(ValueError, match=r"no scan over arrays .*backend='auto'"):
        jaxprs.kernel_function(gradient, X)


def test_the_logarithm_of_one_and_more_in_a_kernel() -> None:
    """A sum, a logarithm of one rounding, a quotient and a product: 4 roundings of 2⁻²⁴."""
    some = np.logspace(-37, 38, 10_000)
    x = np.concatenate([some, -some[some < 0.99]]).astype(np.float32)
    apply = jaxprs.kernel_function(jnp.log1p, jax.ShapeDtypeStruct(x.shape, x.dtype))
    np.testing.assert_allclose(apply(x), np.log1p(x.astype(np.float64)), rtol=4 * 2.0**-24)
    ends = np.array([0, np.inf, -1, -2], np.float32)
    np.testing.assert_array_equal(mosaic._log1p(ends), [0, np.inf, -np.inf, np.nan])


def test_the_exponential_less_one_in_a_kernel() -> None:
    """Where it cancels most, at ±0.5, 1.6 times the rounding of an exponential, and 3 more."""
    some = np.logspace(-37, 1.9, 10_000)
    x = np.concatenate([some, -some]).astype(np.float32)
    apply = jaxprs.kernel_function(jnp.expm1, jax.ShapeDtypeStruct(x.shape, x.dtype))
    np.testing.assert_allclose(apply(x), np.expm1(x.astype(np.float64)), rtol=8 * 2.0**-24)
    ends = np.array([0, np.inf, -np.inf, np.nan], np.float32)
    np.testing.assert_array_equal(mosaic._expm1(ends), [0, np.inf, -1, np.nan])


def test_branches_and_powers_in_a_kernel() -> None:
    def function(x: Any) -> Any:
        one = jax.vmap(lambda x: jax.lax.cond(x > 0, jnp.tanh, jnp.sin, x))(x)
        three = [jnp.tanh, jnp.sin, jnp.cos]
        some = jax.vmap(lambda x: jax.lax.switch(jnp.int32(4 * x), three, x))(x)
        return one, some, [jax.lax.integer_pow(x, n) for n in (-3, -2, 0, 1, 5)]

    x = jnp.asarray([-0.7, 0.1, 0.3])
    text = str(jax.make_jaxpr(jaxprs.kernel_function(function, X))(x))
    assert "integer_pow" not in text and "cond" not in text
    found, expected = jaxprs.kernel_function(function, X)(x), function(x)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_a_jax_without_kernels_has_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def run() -> Any:
        cell = r.elman(3)
        kernel = Kernel(interpret=True)
        return r.unroll(cell, cell.init(jax.random.key(0), 2), None, XS, backend=kernel)

    def missing(**options: Any) -> Any:
        raise TypeError("kernel() got an unexpected keyword")

    monkeypatch.setattr("jax.experimental.pallas.mosaic_gpu.kernel", missing)
    with pytest.raises(ValueError, match=r"no kernels in the form known here.*backend='auto'"):
        run()
    # Without the table JAX itself refuses what it does not lower; without jaxprs nothing is looked
    # at.
    monkeypatch.setattr(mosaic, "_lowered", set)
    assert jaxprs.kernel_function(jax.lax.lgamma, X)(jnp.ones(3)).shape == (3,)
    monkeypatch.setattr(mosaic, "_names", lambda jaxpr: jaxpr.unknown)
    assert jaxprs.kernel_function(jnp.tanh, X) is jnp.tanh


def test_errors_of_the_function_itself_are_not_hidden() -> None:
    def wrong(a: Any) -> Any:
        raise ValueError("mine")

    for call in (
        lambda: jaxprs.grouped(wrong)(1.0),
        lambda: jaxprs.only_added(wrong, 1, 1.0),
        lambda: jaxprs.returns_an_argument(wrong, 1.0),
        lambda: jaxprs.returns_one_value(wrong, 1.0),
    ):
        with pytest.raises(ValueError, match="mine"):
            call()


def test_forward_mode_has_a_sentence_and_other_errors_stay() -> None:
    cell = r.lstm(3)
    params = cell.init(jax.random.key(0), 2)
    with pytest.raises(ValueError, match=r"reverse mode only: .* pass backend='scan'"):
        jax.jvp(lambda xs: r.unroll(cell, params, None, xs)[1], (XS,), (XS,))
    with pytest.raises(TypeError, match="another"), jaxprs.reverse_mode_only("no"):
        raise TypeError("another")


def test_a_cluster_is_found_as_jax_finds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert jaxprs.cluster(1) is None
    slurm = {
        "SLURM_JOB_ID": "77",
        "SLURM_STEP_NODELIST": "node[003-004],other",
        "SLURM_NTASKS": "16",
        "SLURM_PROCID": "9",
        "SLURM_LOCALID": "1",
    }
    for name, value in slurm.items():
        monkeypatch.setenv(name, value)
    assert jaxprs.cluster(1) == ("node003:61517", 16, 9, [1])
    monkeypatch.setenv("SLURM_NTASKS", "many")
    assert jaxprs.cluster(1) is None


def test_a_step_of_bfloat16_is_written_by_itself() -> None:
    """Before JAX 0.11 a plain scan writes the whole array anew at each step, on a CPU."""

    def steps(xs: Any, scan: Any) -> Any:
        return scan(lambda h, x: (h + x, (h + x).astype(jnp.bfloat16)), jnp.zeros(3), xs)

    def whole_arrays_written(scan: Any) -> int:
        compiled = jax.jit(lambda xs: steps(xs, scan)).lower(jnp.ones((37, 3))).compile()
        return len(re.findall(r"= bf16\[37,3\]\S* convert\(%dynamic", str(compiled.as_text())))

    assert whole_arrays_written(jaxprs.scan) == 0
    windows = partial(r.truncated_scan, kind=r.sliding(2))
    assert whole_arrays_written(windows) == 0
    old = jax.__version_info__ < (0, 11) and jax.default_backend() == "cpu"
    assert (whole_arrays_written(jax.lax.scan) > 0) == old
    last, ys = steps(jnp.ones((37, 3)), jaxprs.scan)
    np.testing.assert_array_equal(ys[:, 0], jnp.arange(1, 38).astype(jnp.bfloat16))
    assert ys.dtype == jnp.bfloat16 and last[0] == 37
