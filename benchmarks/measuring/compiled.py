"""What stands in a compiled program: its all-reduces, their bytes, and the loops around them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import prod
from typing import NamedTuple

__all__ = ["AllReduce", "all_reduces"]

_CALLED = re.compile(r"=%?([\w.\-]+)|[{ ]%([\w.\-]+)(?=[,}])")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_SHAPE = re.compile(r"\b(pred|[a-z]+?\d+)\w*\[([\d,]*)\]")


class AllReduce(NamedTuple):
    """An all-reduce of a program.

    bytes: what each device hands in at a time.
    loops: how many loops stand around it.
    runs: how often it runs in one call; None where a loop does not say how often it goes round.
    """

    bytes: int
    loops: int
    runs: int | None


class _Call(NamedTuple):
    """Another computation that calls this one; ``trips`` is 0 where nobody knows it."""

    caller: str
    loop: bool
    trips: int


def all_reduces(text: str) -> list[AllReduce]:
    """The all-reduces in the text of a compiled program, as ``compiled.as_text()`` gives it.

    XLA promises no format: a test compares this with programs whose all-reduces are known.

    Example:
      >>> all_reduces('''
      ... ENTRY %main (p: f32[8,8]) -> f32[8,8] {
      ...   ROOT %sum = f32[8,8]{1,0} all-reduce(%p), channel_id=1, to_apply=%add
      ... }''')
      [AllReduce(bytes=256, loops=0, runs=1)]
    """
    computations = dict(_computations(text))
    calls: dict[str, list[_Call]] = {}
    for name, lines in computations.items():
        for line in lines:
            loop = " while(" in line
            known = _TRIPS.search(line)
            trips = int(known[1]) if known else 0 if loop else 1
            for callee in {one for pair in _CALLED.findall(line) for one in pair if one}:
                if callee in computations:
                    calls.setdefault(callee, []).append(_Call(name, loop, trips))

    def depth(name: str) -> int:
        return max((depth(call.caller) + call.loop for call in calls.get(name, [])), default=0)

    def runs(name: str) -> int | None:
        if name not in calls:
            return 1
        total = 0
        for call in calls[name]:
            outer = runs(call.caller)
            if outer is None or not call.trips:
                return None
            total += outer * call.trips
        return total

    return [
        AllReduce(_bytes(found[1]), depth(name), runs(name))
        for name, lines in computations.items()
        for line in lines
        if (found := re.search(r" = (.*?) all-reduce(?:-start)?\(", line))
    ]


def _computations(text: str) -> Iterator[tuple[str, list[str]]]:
    """The lines of each computation by its name."""
    lines: list[str] = []
    for line in text.splitlines():
        opening = re.match(r"(?:ENTRY )?%?([\w.\-]+) .*\{$", line)
        if opening and not line.startswith(" "):
            lines = []
            yield opening[1], lines
        elif line.startswith(" "):
            lines.append(line)


def _bytes(shapes: str) -> int:
    """Those of a result such as ``(f32[2,3]{1,0}, bf16[])``."""
    total = 0
    for dtype, sizes in _SHAPE.findall(shapes):
        bits = 8 if dtype == "pred" else int(re.sub(r"\D", "", dtype))
        total += bits * prod(map(int, filter(None, sizes.split(",")))) // 8
    return total
