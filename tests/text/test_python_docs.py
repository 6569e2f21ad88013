"""The corpus inside every Python, with lower bounds because it differs between versions."""

from __future__ import annotations

import sys
import sysconfig
import warnings
from collections import Counter

import pytest

from rnn_jax.text import collect, python_docs, read_documents


@pytest.fixture(scope="module")
def texts():
    return collect()


def test_enough_words(texts):
    counts = Counter(word for text in texts for word in text.lower().split())
    assert counts.total() >= 250_000 and len(counts) > 10_000
    assert counts.most_common(1)[0][0] == "the"


def test_prose_only(texts):
    lines = [line.strip() for text in texts for line in text.splitlines()]
    assert not any(line.startswith(">>> ") for line in lines)
    assert not any(set(line) == {"="} and len(line) > 3 for line in lines)
    assert not any(line.startswith("| ") and line.endswith(" |") for line in lines)


def test_where_it_reads():
    files = [file.as_posix() for file in python_docs.source_files()]
    assert files and not any("/site-packages/" in file or "/test/" in file for file in files)
    assert any(file.endswith("/json/__init__.py") for file in files)


def test_rules_on_a_small_library(tmp_path, monkeypatch):
    (tmp_path / "b.py").write_text(
        'def f():\n    """Second.\n\n    >>> f()\n    1\n\n    End."""\n'
    )
    (tmp_path / "a.py").write_text(
        '"""First.\n\nTitle\n=====\n\n+--+--+\n| a | b |\n"""\nx = "\\d"\n'
        'class C:\n    """Second."""\n    async def g(self):\n        """Third."""\n'
    )
    (tmp_path / "broken.py").write_text("def (:")
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "c.py").write_text('"""Skipped."""')
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    expected = ["First.", "Title", "Second.", "Third.", "Second.", "End."]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert collect() == expected
    before = python_docs.fingerprint()
    (tmp_path / "d.py").write_text('"""More."""')
    assert python_docs.fingerprint() != before


def test_read_by_name_and_kept(texts, tmp_path, monkeypatch):
    monkeypatch.setenv("RNN_JAX_CACHE", str(tmp_path))
    monkeypatch.setattr(python_docs, "collect", lambda: texts)
    documents = read_documents("python-docs")
    assert len(documents.texts) == len(texts) and documents.texts[:99] == tuple(texts[:99])
    monkeypatch.setattr(python_docs, "collect", None)
    assert read_documents("python-docs") == documents
