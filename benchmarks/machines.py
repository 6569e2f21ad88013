"""What a machine is: by what rows state of it, two of them are the same or not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["MACHINE", "Machine", "machine_of", "model_of", "other_machine", "unlike"]

# What makes a machine another one, beside `model_of`.
MACHINE = ("platform", "device", "processor", "cpu_count")

Machine = tuple[Any, ...]  # the values of `MACHINE`, and `model_of`


def model_of(row: Mapping[str, Any]) -> str | None:
    """Of a row of a CPU its family, model and stepping, for many CPUs have one name.

    None where the row is of another device, or does not state all three, as older ones.

    Example:
      >>> model_of({"platform": "cpu", "system": {"family": "25", "model": "17", "stepping": "1"}})
      'family 25, model 17, stepping 1'
    """
    system: dict[str, Any] = (row.get("platform") == "cpu" and row.get("system")) or {}
    stated = {name: system.get(name) for name in ("family", "model", "stepping")}
    if None in stated.values():
        return None
    return ", ".join(f"{name} {value}" for name, value in stated.items())


def machine_of(row: Mapping[str, Any]) -> Machine:
    """The machine that a row was measured on, as far as it states it."""
    return (*(row.get(name) for name in MACHINE), model_of(row))


def unlike(one: Machine, other: Machine) -> list[tuple[str, Any, Any]]:
    """The facts in which two machines differ, with both values.

    A row that does not state its model may be of any: only two stated ones differ.

    Example:
      >>> unlike(("cpu", "cpu", "EPYC", 2, None), ("cpu", "cpu", "Xeon", 2, "family 6"))
      [('processor', 'EPYC', 'Xeon')]
    """
    return [
        (name, first, second)
        for name, first, second in zip((*MACHINE, "model"), one, other, strict=True)
        if first != second and not (name == "model" and None in (first, second))
    ]


def other_machine(first: Iterable[Mapping[str, Any]], second: Iterable[Mapping[str, Any]]) -> bool:
    """Whether no row of the one was measured on a machine of the other.

    Example:
      >>> one, two = ({"platform": "cpu", "processor": name} for name in ("EPYC", "Xeon"))
      >>> other_machine([one], [two]), other_machine([one, two], [two])
      (True, False)
    """
    ones, others = ({machine_of(row) for row in rows} for rows in (first, second))
    return all(unlike(one, other) for one in ones for other in others)
