"""Where the time goes: kinds of kernels, and the command."""

from __future__ import annotations

import pytest

from benchmarks import where

TEXT = """\
%fused_computation (p: f32[4,4]) -> f32[4,4] {
  %p = f32[4,4] parameter(0)
  ROOT %dot.1 = f32[4,4] dot(%p, %p), lhs_contracting_dims={1}
}
%other (p: f32[4,4]) -> f32[4,4] {
  ROOT %t = f32[4,4] tanh(%p)
}
ENTRY %main (x: f32[4,4]) -> f32[4,4] {
  %x = f32[4,4] parameter(0)
  %a_fusion = f32[4,4] fusion(%x), kind=kCustom, calls=%fused_computation
  %tanh_fusion = f32[4,4] fusion(%a_fusion), kind=kLoop, calls=%other
  ROOT %copy.3 = f32[4,4] copy(%tanh_fusion)
}
"""


def test_kinds_of_kernels() -> None:
    found = where.kinds(TEXT)
    assert found["a_fusion"] == "product"
    assert found["tanh_fusion"] == "pointwise"
    assert found["copy.3"] == "copy"
    assert "x" not in found


def test_a_small_layer(capsys: pytest.CaptureFixture[str]) -> None:
    assert where.main(["--cells", "gru", "--shapes", "4x6x32x8", "--calls", "2"]) == 0
    said = capsys.readouterr().out
    assert "gru 4x6x32x8" in said and "forward+backward" in said


@pytest.mark.parametrize(
    "wrong",
    [["--cells", "tree"], ["--shapes", "4x6"], ["--shapes", "0x6x3x2"], ["--calls", "0"]],
)
def test_bad_input_is_one_sentence(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert where.main(wrong) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and wrong[0] in said and wrong[1] in said
