"""MkDocs hooks: pages made from files that stand elsewhere in the repository, and their links.

A link in any page leads to a file of the repository, so that it works where the file is read; on
the site it leads to the page made from that file.
"""

from __future__ import annotations

import base64
import json
import os
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "data/README.md": "corpora.md",
    "rnn_jax/recipes/README.md": "recipes.md",
    "benchmarks/README.md": "benchmarks/running.md",
    "benchmarks/results/README.md": "benchmarks/results.md",
}
RESULTS = ROOT / "benchmarks" / "results"
# The pages of other machines are in folders of their own.
PAGES |= {
    f"benchmarks/results/{path.parent.name}/README.md": f"benchmarks/{path.parent.name}.md"
    for path in sorted(RESULTS.glob("*/README.md"))
}
NOTEBOOKS = {
    f"notebooks/{path.name}": f"tutorials/{path.stem}.md"
    for path in sorted((ROOT / "notebooks").glob("*.ipynb"))
}
PICTURES = {
    path.relative_to(ROOT).as_posix(): f"benchmarks/{path.relative_to(RESULTS).as_posix()}"
    for path in sorted(RESULTS.rglob("*.png"))
}
SITE = PAGES | NOTEBOOKS | PICTURES
SOURCES = {page: source for source, page in SITE.items()}
LINK = re.compile(
    r"(?P<mark>!?)\[(?P<label>[^\[\]]*)\]\((?P<target>[^)#:\s]+)(?P<anchor>#[^)\s]*)?\)"
)

# Code, which stays as it is, or TeX, which every browser shows as MathML without a script.
MATHS = r"(?P<code>`[^`]*`)|\$\$(?P<block>.+?)\$\$|\$(?P<inline>.+?)\$"


def on_files(files: Any, config: Any, **_: Any) -> Any:
    """Add the pages and their pictures."""
    for source, page in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text))
    for source, picture in PICTURES.items():
        files.append(File.generated(config, picture, abs_src_path=str(ROOT / source)))
    for source, page in NOTEBOOKS.items():
        text, pictures = notebook(ROOT / source)
        files.append(File.generated(config, page, content=text))
        for name, data in pictures.items():
            files.append(File.generated(config, f"tutorials/{name}", content=data))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn links to files of the repository into links to their pages, or into their names."""
    here = page.file.src_uri
    folder = os.path.dirname(SOURCES.get(here, f"docs/{here}"))

    def link(match: re.Match[str]) -> str:
        mark, label, anchor = match["mark"], match["label"], match["anchor"] or ""
        path = os.path.normpath(os.path.join(folder, match["target"]))
        found = path.removeprefix("docs/") if path.startswith("docs/") else SITE.get(path)
        if found is not None:
            return f"{mark}[{label}]({os.path.relpath(found, os.path.dirname(here))}{anchor})"
        if not (ROOT / path).exists():
            return match[0]  # MkDocs warns of it
        return f"`{path}`" if path.endswith(label.strip("`")) else f"{label} (`{path}`)"

    if here not in NOTEBOOKS.values():
        # Numbered items: CommonMark is content with three spaces and no blank line, MkDocs is not.
        markdown = re.sub(r"^ {3}(?=\S)", " " * 4, markdown, flags=re.MULTILINE)
        markdown = re.sub(r"^( {4}\S.*)\n(?=\d+\. )", r"\1\n\n", markdown, flags=re.MULTILINE)
    return re.sub(LINK, link, markdown)


def notebook(path: Path) -> tuple[str, dict[str, bytes]]:
    """A notebook as Markdown, and its pictures by name."""
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(re.sub(MATHS, with_maths, source, flags=re.DOTALL))
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/png" in data:
                name = f"{path.stem}-{len(pictures)}.png"
                pictures[name] = base64.b64decode(data["image/png"])
                parts.append(f"![output]({name})")
            else:
                text = "".join(output.get("text", data.get("text/plain", "")))
                parts.append(f"```text\n{text.rstrip()}\n```")
    return "\n\n".join(parts) + "\n", pictures


def with_maths(match: re.Match[str]) -> str:
    """A match of `MATHS` as HTML."""
    if match["code"]:
        return match[0]
    html: str = convert(
        match["block"] or match["inline"], display="block" if match["block"] else "inline"
    )
    return html
