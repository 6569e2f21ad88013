"""The README stays short, and what it claims of the package's size is true."""

from __future__ import annotations

import re
from pathlib import Path

from tests.project.pages import ROOT, of_rnn_jax_alone, run

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
CORE = ("types.py", "cells/*.py", "recurrence/*.py", "layers/*.py", "truncation/*.py")


def lines(path: Path) -> int:
    return path.read_text(encoding="utf-8").count("\n")


def test_it_has_fewer_than_160_lines() -> None:
    assert TEXT.count("\n") < 160


def test_the_word_model_has_the_loss_of_an_untrained_one() -> None:
    page = ROOT / "README.md"
    loss, expected = re.findall(r"\d+\.\d\d", run(of_rnn_jax_alone(page), page))
    assert abs(float(loss) - float(expected)) < 0.01 * float(expected)


def test_the_core_has_about_the_lines_that_are_claimed() -> None:
    counted = sum(lines(path) for part in CORE for path in (ROOT / "rnn_jax").glob(part))
    page = (ROOT / "docs" / "how-it-works.md").read_text(encoding="utf-8")
    claims = re.findall(r"about ([\d,]+) lines", TEXT) + re.findall(r"wc -l\n\s+(\d+)", page)
    assert len(claims) == 2
    assert all(abs(int(claim.replace(",", "")) - counted) < 0.1 * counted for claim in claims)
