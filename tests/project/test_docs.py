"""The documentation: its Python runs, commands and links exist, and no public name is missing."""

from __future__ import annotations

import importlib
import inspect
import os
import re
import shlex
import types
import warnings
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import pytest

import rnn_jax
import rnn_jax.reference
import rnn_jax.text
from rnn_jax import schedules
from rnn_jax.cli import compare, evaluate, export, gradcheck, runs, sample, tokenize, train
from tests.project.pages import OTHER_LIBRARIES, PAGES, ROOT, blocks, of_rnn_jax_alone, run

WITH_PYTHON = [page for page in PAGES[1:] if of_rnn_jax_alone(page)]  # test_readme runs the first
COMMANDS: dict[str, Callable[..., Any]] = {
    "train": train.train,
    "evaluate": evaluate.evaluate,
    "sample": sample.sample,
    "export": export.export,
    "gradcheck": gradcheck.gradcheck,
    "runs": runs.runs,
    "compare": compare.compare,
    "tokenize": tokenize.tokenize,
}
MODULES = [
    rnn_jax,
    rnn_jax.diagnostics,
    rnn_jax.export,
    rnn_jax.interop,
    schedules,
    rnn_jax.text,
    rnn_jax.reference,
]
# Shown in the reference besides: what a cell of one's own builds on.
ALSO = [
    "rnn_jax.cells.gated.CellOptions",
    "rnn_jax.cells.GatedCell",
    "rnn_jax.cells.minimal.MinimalOptions",
    "rnn_jax.cells.minimal.MinimalOptions",
    "rnn_jax.training.batches.consecutive",
    "rnn_jax.training.batches.covering",
    "rnn_jax.training.joining.joined",
    "rnn_jax.types.Along",
    "rnn_jax.types.Steps",
]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", WITH_PYTHON, ids=name_of)
def test_the_python_runs_in_order(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where what a page writes does not stay
    run(of_rnn_jax_alone(page), page)


@pytest.mark.parametrize("library", ["PyTorch", "Keras", "Flax", "Haiku", "Equinox"])
def test_weights_of_another_library_give_the_same_outputs(
    library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    page = ROOT / "docs" / "coming-from.md"
    titles, texts = zip(*blocks(page), strict=True)
    at = titles.index(library)
    assert titles[at : at + 3] == (library, "rnn_jax", f"{library} to rnn_jax")
    with warnings.catch_warnings(), jax.numpy_rank_promotion("allow"):
        warnings.simplefilter("ignore")  # theirs, not ours
        pytest.importorskip(OTHER_LIBRARIES[library])
        run(list(texts[at : at + 3]), page)


@pytest.mark.parametrize("library", ["Flax", "Equinox"])
def test_a_cell_of_another_library_is_truncated(library: str) -> None:
    page = ROOT / "docs" / "how-to" / "truncation.md"
    (text,) = (text for title, text in blocks(page) if title == library)
    with warnings.catch_warnings(), jax.numpy_rank_promotion("allow"):
        warnings.simplefilter("ignore")  # theirs, not ours
        pytest.importorskip(OTHER_LIBRARIES[library])
        run(["import jax, jax.numpy as jnp, rnn_jax", text], page)


@pytest.mark.parametrize("library", ["Flax", "Equinox", "Haiku", "NumPyro", "jax2onnx"])
def test_a_layer_inside_another_library(library: str) -> None:
    page = ROOT / "docs" / "how-to" / "other-libraries.md"
    texts = [text for title, text in blocks(page) if title == library]
    assert texts
    with warnings.catch_warnings(), jax.numpy_rank_promotion("allow"):
        warnings.simplefilter("ignore")  # theirs, not ours
        pytest.importorskip(OTHER_LIBRARIES[library])
        run([of_rnn_jax_alone(page)[0], *texts], page)


def test_a_published_model_says_what_its_package_says() -> None:
    """``G2p().predict("recurrence")`` of g2p_en 2.1.0, R IH0 K ER1 AH0 N S, as numbers."""
    try:
        metadata.version("g2p_en")  # which downloads data when it is imported
    except metadata.PackageNotFoundError:
        pytest.skip("g2p_en is not installed")
    page = ROOT / "docs" / "how-to" / "interop.md"
    texts = [text for title, text in blocks(page) if title == "g2p_en"]
    assert run(texts, page) == f"{[57, 38, 45, 30, 10, 48, 58]}\n"


def test_the_commands_have_only_flags_that_exist() -> None:
    seen = set()
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        for line in re.findall(r"rnn-jax ((?:[^\n`#])+)", text):
            name, *words = shlex.split(line)
            if name not in COMMANDS:
                continue
            seen.add(name)
            known = {"json", *inspect.signature(COMMANDS[name]).parameters}
            flags = {word[2:].removeprefix("no-") for word in words if word.startswith("--")}
            assert {flag.replace("-", "_") for flag in flags if flag != "help"} <= known
    assert seen == set(COMMANDS)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    for target, anchor in re.findall(r"\]\(([^)#:\s]*)(?:#([^)\s]*))?\)", text):
        file = Path(os.path.normpath(page.parent / target)) if target else page
        assert file.exists(), f"{name_of(page)} links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text("utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}
            assert anchor in slugs, f"{name_of(page)} links to {target}#{anchor}"


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = [str(page.relative_to(ROOT / "docs")) for page in PAGES if page.name != "README.md"]
    assert [page for page in pages if f" {page}\n" not in navigation] == []


def test_the_reference_has_every_public_name_once() -> None:
    entries = [
        entry
        for page in sorted((ROOT / "docs" / "api").glob("*.md"))
        for entry in re.findall(r"^::: (\S+)$", page.read_text("utf-8"), re.MULTILINE)
    ]
    public = {
        f"{module.__name__}.{name}"
        for module in MODULES
        for name in module.__all__
        if not isinstance(getattr(module, name), types.ModuleType)
    }
    # A function of its module's name is found as `module.name.name` there.
    listed = [re.sub(r"\.(\w+)\.\1$", r".\1", entry) for entry in entries]
    missing, unknown = public - set(listed), set(listed) - public - set(ALSO)
    assert not missing, f"add `::: NAME` to a page of docs/api for {sorted(missing)}"
    assert not unknown, f"no longer public, take out of docs/api: {sorted(unknown)}"
    assert len(set(listed)) == len(listed)


@pytest.mark.parametrize("entry", ALSO)
def test_what_is_shown_besides_exists(entry: str) -> None:
    module, name = entry.rsplit(".", 1)
    assert hasattr(importlib.import_module(module), name)
