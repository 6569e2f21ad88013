"""Settings from a file: TOML, or the JSON that a run keeps."""

from __future__ import annotations

import dataclasses
import difflib
import json
import tomllib
import types
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, Union

from rnn_jax.host.checksums import unsealed
from rnn_jax.host.files import reason
from rnn_jax.host.options import Options, flag

__all__ = ["read_settings"]


def read_settings(path: str, options: type[Options], others: Iterable[str] = ()) -> dict[str, Any]:
    """The settings in a file, under the names of a class of options.

    A TOML file holds ``hidden_size = 256`` or ``hidden-size = 256``, without tables. A JSON file
    holds an object of the same, which may stand under ``config``, as in the ``config.json`` of a
    run; settings that an older version did not save yet are those it meant.

    Args:
      path: ending with ``.json`` for JSON.
      options: whose fields the names are.
      others: further flags of the command, which are no settings.

    Raises:
      ValueError: the file cannot be read, or holds an unknown name or a value of another type.
    """
    content, saved = _read(path)
    hints = typing.get_type_hints(options)
    known = [field.name for field in dataclasses.fields(options)]  # type: ignore[arg-type]
    settings: dict[str, Any] = {}
    for key, value in content.items():
        name = key.replace("-", "_")
        if name in options.refused:
            raise ValueError(f"{path}: {key}: {options.refused[name]}")
        if name not in known:
            raise ValueError(f"{path}: {_unknown(key, value, known, others)}")
        if name in settings:
            raise ValueError(f"{path}: {key} is given twice, with - and with _: leave one out")
        settings[name] = _checked(f"{path}: {key}", value, hints[name])
    return options.completed(settings) if saved else settings


def _read(path: str) -> tuple[dict[str, Any], bool]:
    """The names and values of a file, as they stand in it, and whether a run saved them."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        why = reason(error) if isinstance(error, OSError) else "it is not UTF-8"
        raise ValueError(
            f"--config {path} cannot be read ({why}): give a .toml or .json file"
        ) from None
    if Path(path).suffix != ".json":
        try:
            return tomllib.loads(text), False
        except tomllib.TOMLDecodeError as error:
            raise ValueError(f"--config {path} is not TOML: {error}") from None
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"--config {path} is not JSON: {error}") from None
    if isinstance(content, dict) and isinstance(content.get("config"), dict):
        try:
            return unsealed(content)["config"], True
        except ValueError as error:
            raise ValueError(
                f"--config {path} is damaged or was edited ({error}): restore it from a copy, or "
                "take its checksum out if the change is meant"
            ) from None
    if not isinstance(content, dict):
        raise ValueError(f"--config {path} holds no settings: give a JSON object of them")
    return content, False


def _unknown(key: str, value: Any, known: list[str], others: Iterable[str]) -> str:
    """What to say of a key that is no setting."""
    name = key.replace("-", "_")
    if isinstance(value, dict):
        return f"[{key}] is a table: write all settings at the top, without tables"
    if name in others:
        return f"{key} is no setting: give {flag(name)} on the command line"
    near = difflib.get_close_matches(name, known, n=1)
    hint = f", did you mean {near[0]}?" if near else ": rnn-jax config lists those there are"
    return f"{key} is no setting{hint}"


def _checked(place: str, value: Any, hint: Any) -> Any:
    """The value, of the type that an option has."""
    none = type(None)
    kinds = (
        typing.get_args(hint) if typing.get_origin(hint) in (Union, types.UnionType) else (hint,)
    )
    for kind in kinds:
        if typing.get_origin(kind) is Literal:
            if value in typing.get_args(kind) and isinstance(value, str):
                return value
            wanted = ", ".join(map(str, typing.get_args(kind)))
            raise ValueError(f"{place} must be one of {wanted}, not {_written(value)}")
        if kind is none and value is None:
            return None
        if kind is float and type(value) in (int, float):
            try:
                return float(value)
            except OverflowError:
                pass
        if typing.get_origin(kind) is tuple and isinstance(value, list) and value:
            if all(isinstance(one, str) for one in value):
                return tuple(value)
            continue
        if type(value) is kind:
            return value
    wanted = " or ".join(_NAMES.get(kind, "a list of them") for kind in kinds if kind is not none)
    raise ValueError(f"{place} must be {wanted}, not {_written(value)}")


_NAMES = {bool: "true or false", int: "an integer", float: "a number", str: "a text in quotes"}


def _written(value: Any) -> str:
    """A value as a file has it."""
    try:
        return json.dumps(value, ensure_ascii=False)
    except TypeError:
        return str(value)
