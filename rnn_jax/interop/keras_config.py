"""The layers of a Keras model by its config, from the input to the output."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["opened"]


def opened(
    path: str | os.PathLike[str], config: str | os.PathLike[str] | None
) -> tuple[list[Any], Any]:
    """The layers' configurations along the one chain there is, and what the weights are in."""
    name = os.fspath(path)
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                text = archive.read("config.json")
                weights: Any = io.BytesIO(archive.read("model.weights.h5"))
        else:
            if config is None:
                Path(path).open("rb").close()
                raise ValueError(
                    f"{name} is no .keras file, and weights alone do not say of which layers they "
                    "are: give config=, a file with the text of model.to_json()"
                )
            text, weights = Path(config).read_bytes(), name
    except OSError as error:
        raise ValueError(f"{name} cannot be read: {error.strerror or error}") from None
    except (KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f"{name} is not a .keras file: {error}") from None
    try:
        return list(_chain(json.loads(text))), weights
    except (AttributeError, IndexError, KeyError, TypeError, UnicodeDecodeError, RecursionError):
        raise ValueError(f"{name} has no config of a Keras model that is one chain") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"the config of {name} is not JSON: {error}") from None
    except ValueError as error:
        raise ValueError(f"{name} cannot be read as a layer or a model: {error}") from None


def _chain(model: Any) -> Iterator[Any]:
    """The configurations of the layers from the input to the output."""
    kind, config = model["class_name"], model["config"]
    if kind == "Sequential":
        yield from config["layers"]
        return
    if kind not in ("Functional", "Model"):
        raise ValueError(
            f"it is a {kind}: of a class of your own, save what it computes as a Functional model"
        )
    by_name = {layer["config"]["name"]: layer for layer in config["layers"]}
    outputs = config["output_layers"]
    name = outputs[0] if isinstance(outputs[0], str) else outputs[0][0]
    if not isinstance(outputs[0], str) and len(outputs) != 1:
        raise ValueError(f"it has {len(outputs)} outputs: save one with one output")
    chain = [by_name[name]]
    while chain[-1]["class_name"] != "InputLayer":
        layer = chain[-1]
        nodes, own = layer["inbound_nodes"], layer["config"]["name"]
        if len(nodes) != 1:
            raise ValueError(f"its layer {own!r} is called {len(nodes)} times: only once is read")
        inputs = [arg for arg in nodes[0]["args"] if isinstance(arg, dict | list)]
        given = {k for k, v in nodes[0]["kwargs"].items() if v is not None}
        if extra := sorted(given - {"mask", "training"}):
            raise ValueError(f"its layer {own!r} is given {extra[0]}, which is not read")
        if len(inputs) != 1 or not isinstance(inputs[0], dict):
            raise ValueError(f"its layer {own!r} joins several others: only a chain is read")
        source, node, output = inputs[0]["config"]["keras_history"]
        if (node, output) != (0, 0):
            raise ValueError(f"its layer {own!r} reads a state of {source!r}: that is not read")
        chain.append(by_name[source])
    yield from reversed(chain)
