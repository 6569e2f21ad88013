"""Sampled texts on standard output."""

from __future__ import annotations

import sys

import pytest

from rnn_jax.cli.texts import shown


@pytest.mark.parametrize(("terminal", "written"), [(True, "a\tb\\x1b[2J\nc"), (False, None)])
def test_nothing_commands_a_terminal_and_a_file_gets_all(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, written: str | None
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal, raising=False)
    assert shown(["a\tb\x1b[2J", "c"]) == (written or "a\tb\x1b[2J\nc")
