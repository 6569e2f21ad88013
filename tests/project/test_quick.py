"""The compiler's quickest options are known to it, one by one."""

from __future__ import annotations

import jax
import pytest

from tests import quick


def test_the_compiler_takes_what_quick_has() -> None:
    # Without any of them tests take twice as long, and nothing else would say so.
    assert "xla_backend_optimization_level" in quick.QUICK
    assert float(jax.jit(lambda x: x + 1, compiler_options=quick.QUICK)(1.0)) == 2.0


def test_an_option_that_a_compiler_lacks_costs_none_of_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(quick._OPTIONS, "xla_no_such_option", True)
    known = [name for name in quick._OPTIONS if quick._is_known(name)]
    assert known == list(quick.QUICK)
