"""``python -m benchmarks report FILE…``: the page of results and its pictures."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path

from benchmarks.groups import GROUPS
from benchmarks.reporting.page import Page, headline, page, sureness
from benchmarks.result_files import read_rows
from rnn_jax.host.files import atomic_path

__all__ = ["add_arguments", "run", "with_headline"]

BEGIN, END = "<!-- benchmarks -->", "<!-- /benchmarks -->"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this command."""
    parser.add_argument("files", metavar="FILE", nargs="+", help="files of --out; one a machine")
    parser.add_argument(
        "--out",
        metavar="DIR",
        required=True,
        help="folder that takes README.md and the pictures, in place of older ones",
    )
    parser.add_argument(
        "--readme",
        metavar="FILE",
        help=f"a page whose part between {BEGIN} and {END} becomes the headline and two pictures",
    )


def run(options: argparse.Namespace) -> None:
    """Write the page and its pictures."""
    out = Path(options.out)
    rows = [row for name in options.files for row in read_rows(name)]
    readme = None if options.readme is None else Path(options.readme)
    old = "" if readme is None else _text_of(readme)
    made = page(rows, out, [Path(name).name for name in options.files], other=_elsewhere(out))
    # Made before anything is written, for the marks may be missing.
    new = None if readme is None else with_headline(old, made, out, readme.parent)
    _write(out / "README.md", made.text)
    if readme is not None and new is not None:
        _write(readme, new)
    print(f"{out / 'README.md'} and its pictures are written")


def with_headline(text: str, made: Page, out: Path, folder: Path) -> str:
    """``text``, of a page in ``folder``, with the headline and two pictures between its marks.

    Both are those of the first machine; a picture that was not drawn now is not linked.

    Raises:
      ValueError: the marks are not there, once each.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"--readme needs {BEGIN} and {END} in its file, once each and in order")
    cores = made.first.rows[0].get("cpu_count")
    blocks = [f"On {made.first.title}, {cores} CPU cores:", *headline(made.first.rows)]
    blocks.append(sureness(made.first.rows))
    for group in GROUPS.values():
        if group.in_readme and group.name in made.pictures:
            link = Path(os.path.relpath(out / made.pictures[group.name], folder)).as_posix()
            blocks.append(f"![{group.caption}]({link})")
    before, after = text[: text.index(BEGIN) + len(BEGIN)], text[text.index(END) :]
    return f"{before}\n\n" + "\n\n".join(filter(None, blocks)) + f"\n\n{after}"


def _elsewhere(out: Path) -> str:
    """Links to the pages that lie in folders of ``out``, by the machines they are of."""
    links = []
    for file in sorted(out.glob("*/README.md")):
        titles = re.findall(r"^## (.* \(\w+\),.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
        if titles:
            links.append(f"[{'; '.join(titles)}]({file.parent.name}/README.md)")
    return f"Pages of other machines: {', '.join(links)}." if links else ""


def _text_of(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError:
        raise ValueError(f"--readme {file} cannot be read: name a page that exists") from None


def _write(file: Path, text: str) -> None:
    with atomic_path(file) as temporary:
        temporary.write_text(text, encoding="utf-8")
