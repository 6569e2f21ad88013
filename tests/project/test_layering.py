"""Reads the imports of every module of rnn_jax and holds the layers of CONTRIBUTING.md."""

from __future__ import annotations

import ast
import graphlib
import json
import subprocess
import sys
from importlib.util import resolve_name
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = "rnn_jax"

# From the bottom to the top; a row imports rows above it here, never itself or one further down.
# A name is a file or folder right under rnn_jax; files of one folder may import each other.
LAYERS = (
    ("host",),
    ("types", "jaxprs"),
    ("arrays",),
    ("cells", "losses"),
    ("recurrence",),
    ("layers",),
    ("truncation",),
    ("models",),
    ("interop", "export"),
    ("training", "generation", "diagnostics"),
    ("__init__",),  # re-exports what stands above
    ("text", "reference"),  # stand apart, with the first row: see STANDALONE
    ("runs",),
    ("recipes",),
    ("cli",),
    ("__main__",),
)
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}

# The one import that points up: `rnn_jax.load_run` opens what the command line wrote, in a notebook
# that imports no more than the package. It is done when the name is first asked for, as
# `test_importing_the_package_leaves_slow_libraries_alone` holds, and nothing below `runs` asks.
UPWARDS = {("rnn_jax.__init__", "rnn_jax.runs.load")}

# Modules without JAX and without the rest of the package (but for each other), with all that they
# import beyond Python's own library.
STANDALONE: dict[str, set[str]] = {
    "host": set(),
    "text": {"numpy", "nltk", "punkt", "rich", "tokenizers"},
    "reference": {"numpy"},
}

# What a call that does not need it must not pay for.
SLOW_TO_IMPORT = {
    "nltk", "matplotlib", "safetensors", "typer", "rich", "torch", "keras", "flax", "onnx", "h5py",
}  # fmt: skip


def read_modules(root: Path) -> dict[str, ast.Module]:
    """Module name -> syntax tree; a package goes by the name of its `__init__`."""
    return {
        ".".join(path.relative_to(root).with_suffix("").parts): ast.parse(path.read_bytes())
        for path in sorted((root / PACKAGE).rglob("*.py"))
    }


def imported(name: str, tree: ast.Module, modules: set[str]) -> set[str]:
    """The modules `name` imports anywhere in its text; within the package, as far as files go."""

    def known(target: str) -> str | None:
        return next((m for m in (target, f"{target}.__init__") if m in modules), None)

    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {known(alias.name) or alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            relative = "." * node.level + (node.module or "")
            source = resolve_name(relative, name.rpartition(".")[0])
            # `from package import name` means a module where there is one, else the package.
            found |= {
                known(f"{source}.{alias.name}") or known(source) or source for alias in node.names
            }
    return found


def unit(module: str) -> str:
    """`rnn_jax.cells.elman` -> `cells`: the name that LAYERS knows it by."""
    return module.split(".")[1]


def violations(trees: dict[str, ast.Module]) -> list[str]:
    """One sentence for each import that breaks the layers."""
    said: list[str] = []
    graph: dict[str, set[str]] = {}
    for name, tree in trees.items():
        targets = imported(name, tree, set(trees))
        inner = graph[name] = {t for t in targets if t.split(".")[0] == PACKAGE}
        if unit(name) not in RANK:
            said.append(
                f"{name} has no layer: add '{unit(name)}' to LAYERS in {Path(__file__).name}"
            )
            continue
        for target in sorted(inner):
            if (name, target) in UPWARDS:
                continue
            if target not in trees:
                said.append(f"{name} imports {target}, which is no file of the package")
            elif unit(target) != unit(name) and RANK.get(unit(target), -1) >= RANK[unit(name)]:
                said.append(f"{name} imports {target}, which is not in a lower layer")
        outer = {t.split(".")[0] for t in targets - inner}
        said += [f"{name} imports {top}" for top in sorted(outer & {"benchmarks", "tests"})]
        if unit(name) in STANDALONE:
            said += [
                f"{name} stands apart and imports {target}"
                for target in sorted(inner)
                if unit(target) not in STANDALONE
            ]
            said += [
                f"{name} imports {top}, which STANDALONE does not allow it"
                for top in sorted(outer - STANDALONE[unit(name)] - sys.stdlib_module_names)
            ]
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        said.append("cycle: " + " -> ".join(error.args[1]))
    return said


def test_modules_import_strictly_lower_layers() -> None:
    assert violations(read_modules(ROOT)) == []


@pytest.mark.parametrize(
    "files, message",
    [
        ({"types": "from rnn_jax.cells import elman"}, "types imports rnn_jax.cells.elman"),
        ({"types": "def f():\n    from . import models"}, "types imports rnn_jax.models"),
        (
            {"__init__": "def f():\n    from .runs import x", "runs.__init__": ""},
            "imports rnn_jax.runs",
        ),
        ({"types": "import rnn_jax"}, "types imports rnn_jax.__init__"),
        ({"losses": "from .cells.elman import x"}, "losses imports rnn_jax.cells.elman"),
        ({"cells.gru": "from ..models import x"}, "cells.gru imports rnn_jax.models"),
        ({"text.a": "from ..types import x"}, "text.a stands apart and imports rnn_jax.types"),
        ({"reference": "import jax.numpy as jnp"}, "reference imports jax"),
        ({"cli": "from benchmarks.timer import x"}, "cli imports benchmarks"),
        ({"cli": "from rnn_jax.gone import x"}, "imports rnn_jax.gone, which is no file"),
        ({"novel": ""}, "add 'novel' to LAYERS"),
        ({"cells.a": "from . import b", "cells.b": "from .a import x"}, "cycle: "),
        ({"cells.__init__": "from .elman import x", "cells.elman": "from . import x"}, "cycle: "),
    ],
)
def test_each_kind_of_violation_is_seen(files: dict[str, str], message: str) -> None:
    sound = ("__init__", "types", "models", "cells.__init__", "cells.elman")
    trees = {f"{PACKAGE}.{name}": ast.parse("") for name in sound}
    assert violations(trees) == []
    trees |= {f"{PACKAGE}.{name}": ast.parse(text) for name, text in files.items()}
    said = violations(trees)
    assert len(said) == 1
    assert message in said[0]


def test_importing_the_package_leaves_slow_libraries_alone() -> None:
    script = "import json, sys, rnn_jax; print(json.dumps(sorted(sys.modules)))"
    output = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    modules = json.loads(output)
    assert {module.split(".")[0] for module in modules} & SLOW_TO_IMPORT == set()
    assert not [module for module in modules if module.startswith("rnn_jax.runs")]
