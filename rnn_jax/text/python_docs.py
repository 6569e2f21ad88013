"""The documentation that comes with every CPython, as a corpus that needs no download."""

from __future__ import annotations

import ast
import hashlib
import os
import re
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

# Third-party packages, tests, and files that are data rather than documentation.
_SKIPPED = {"site-packages", "dist-packages", "test", "tests", "idle_test", "lib2to3", "_vendor"}

_NOT_PROSE = re.compile(
    r"""^[ \t]*(?:
        >>>(?:[ ].*)?(?:\n.*\S.*)*   # a doctest and its expected output, up to a blank line
        | ([-=*~^+#_])\1{2,}[ \t]*   # a horizontal rule
        | [+|].*[+|][ \t]*          # a row of a table
    )$""",
    re.MULTILINE | re.VERBOSE,
)


def source_files() -> list[Path]:
    """The standard library's Python files that are read, in a fixed order."""
    files = []
    for folder, folders, names in os.walk(sysconfig.get_path("stdlib")):
        # Pruned before the walk: site-packages may be far larger than everything else.
        folders[:] = sorted(set(folders) - _SKIPPED)
        paths = (Path(folder, name) for name in sorted(names) if name.endswith(".py"))
        files += [path for path in paths if path.is_file()]  # a distribution may leave dead links
    return files


def fingerprint() -> str:
    """A hash that changes with the interpreter and with any file that :func:`collect` reads."""
    digest = hashlib.sha256(sys.version.encode())
    for file in source_files():
        stat = file.stat()
        digest.update(f"\n{file}\t{stat.st_size}\t{stat.st_mtime_ns}".encode(errors="replace"))
    return digest.hexdigest()


def collect() -> list[str]:
    """All docstrings of the standard library and the texts of ``pydoc_data.topics``.

    Modules are read, not imported. Each paragraph is a text of its own, so that a heading does not
    run into the sentence after it. Doctest examples, tables and horizontal rules are left out, and
    repeated docstrings are used once. The text depends on the Python version.

    Returns:
        The paragraphs in a fixed order: folder by folder and file by file, the module's docstring
        before those of its members, and finally the topics by name.

    Reference:
        The Python Software Foundation, PSF License 2; the text is read from the installation.
    """
    with warnings.catch_warnings():
        # With warnings as errors, a file with an invalid escape sequence would fail to parse.
        warnings.simplefilter("ignore")
        texts = [doc for file in source_files() for doc in _docstrings(file)]
    try:
        from pydoc_data.topics import topics
    except ImportError:  # some distributions leave it out
        pass
    else:
        texts += [topics[name] for name in sorted(topics)]
    return [
        paragraph
        for text in dict.fromkeys(texts)
        for paragraph in re.split(r"\n\s*\n", _NOT_PROSE.sub("", text).strip())
        if paragraph
    ]


def _docstrings(file: Path) -> Iterator[str]:
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield text
