"""What griffe, which reads the sources without running them, must be told to read them rightly."""

from __future__ import annotations

import re
from typing import Any

import griffe


class Signatures(griffe.Extension):
    """Examples as code, fields as lists, and functions that have the name of their module."""

    def on_object(self, *, obj: Any, **_: Any) -> None:
        """Read ``Example:``, which Google's style has in the plural, and lists of fields."""
        if obj.docstring is None:
            return
        text = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)
        if obj.is_class:

            def item(match: re.Match[str]) -> str:
                fields = match[1].split(", ")
                known = all(field in obj.members for field in fields)
                return f"- `{match[1]}`: " if known else match[0]

            text = re.sub(r"^(\w+(?:, \w+)*): ", item, text, flags=re.MULTILINE)
        if obj.is_function and obj.returns is not None:
            # Else a colon in the first line would end the type.
            text = re.sub(r"^(Returns:\n +)", rf"\g<1>{obj.returns}: ", text, flags=re.MULTILINE)
        obj.docstring.value = text

    def on_package(self, *, pkg: Any, **_: Any) -> None:
        """Let ``rnn_jax.lstm`` be the function, not its module ``rnn_jax.cells.lstm``."""
        for name, member in list(pkg.members.items()):
            if member.is_alias and name in (pkg.exports or []):
                parts = member.target_path.split(".")
                found = pkg
                for part in parts[1:]:
                    found = found.members[part]
                    if found.is_alias:
                        break
                if found.is_module and name in found.members:
                    function = griffe.Alias(name, f"{member.target_path}.{name}", parent=pkg)
                    pkg.set_member(name, function)
