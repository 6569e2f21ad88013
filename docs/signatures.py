"""What griffe, which reads the sources without running them, must be told to read them rightly."""

from __future__ import annotations

import re
from typing import Any

import griffe


class Signatures(griffe.Extension):
    """Examples as code, and functions that have the name of their module."""

    def on_object(self, *, obj: Any, **_: Any) -> None:
        """Google's style has sections of these names in the plural."""
        if obj.docstring:
            obj.docstring.value = re.sub(
                r"^(\s*)Example:$", r"\1Examples:", obj.docstring.value, flags=re.MULTILINE
            )

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
