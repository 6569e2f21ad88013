"""A clock for tests of the timer and of budgets."""

from __future__ import annotations

from collections.abc import Callable


class Clock:
    """A clock that only calls move."""

    def __init__(self) -> None:
        self.now = 0.0
        self.order: list[str] = []

    def __call__(self) -> float:
        return self.now

    def lasting(self, name: str, *seconds: float) -> Callable[[], None]:
        """A function that takes these seconds in turn, the last of them for ever."""
        left = list(seconds)

        def call() -> None:
            self.order.append(name)
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return call
