"""What the sections of one part of the page share: its pictures, and what is explained already."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Pictures"]


@dataclass
class Pictures:
    """The pictures of a part: their names end in ``mark``; ``drawn`` gives the file of each.

    title: of the part, which stands over each: a picture is also shown without its page.
    explained: sentences that stand in the part already.
    drawing: whether there are any; a page without them needs no matplotlib.
    """

    folder: Path
    title: str = ""
    mark: str = ""
    drawn: dict[str, str] = field(default_factory=dict)
    explained: set[str] = field(default_factory=set)
    drawing: bool = True

    def draw(self, name: str, caption: str, draw: Callable[[Path, str], None]) -> str:
        """The link to a picture, once ``draw`` has made its file with the part's title over it.

        "" where none are drawn.
        """
        if not self.drawing:
            return ""
        file = f"{name}{self.mark}.png"
        draw(self.folder / file, self.title)
        self.drawn[name] = file
        return f"![{caption}]({file})"

    def once(self, sentence: str) -> str:
        """The sentence at its first use in the part, and "" at every later one."""
        first = sentence not in self.explained
        self.explained.add(sentence)
        return sentence if first else ""
