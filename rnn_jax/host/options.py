"""Settings that are also flags of the command line: declared, documented and checked once."""

from __future__ import annotations

import dataclasses
import inspect
import math
import typing
from typing import Any, ClassVar, Literal, Self

__all__ = ["SEVERAL", "Options", "combined", "flag", "option", "section_of"]

SEVERAL = str | tuple[str, ...]  # the type of an option that may be given several times


def option(default: Any, help: str) -> Any:
    """A field of `Options`: its default, and the text beside its flag."""
    return dataclasses.field(default=default, metadata={"help": help})


def flag(name: str) -> str:
    """The flag of an option.

    Example:
      >>> flag("hidden_size")
      '--hidden-size'
    """
    return "--" + name.replace("_", "-")


class Options:
    """The base of dataclasses whose fields are flags; an error names the flag.

    section: the heading over the fields that a class declares, where options are listed.
    alternatives: pairs of options that say the same thing in two ways, of which one is set.
    refused: what somebody may look for under these names, and the sentence that says why it is
      not there.

    Example:
      >>> @dataclasses.dataclass(frozen=True)
      ... class Sizes(Options):
      ...     hidden_size: int = option(8, "Hidden units.")
      ...     def __post_init__(self):
      ...         self.at_least(1, "hidden_size")
      >>> Sizes(0)
      Traceback (most recent call last):
      ValueError: --hidden-size must be at least 1, not 0
    """

    section: ClassVar[str] = "Options"
    alternatives: ClassVar[tuple[tuple[str, str], ...]] = ()
    refused: ClassVar[dict[str, str]] = {}

    def __post_init__(self) -> None:
        self.check_literals()
        for first, second in self.alternatives:
            if getattr(self, first) is not None and getattr(self, second) is not None:
                raise ValueError(
                    f"{flag(first)} and {flag(second)} say the same thing in two ways: leave one "
                    "of them out"
                )

    @classmethod
    def completed(cls, saved: dict[str, Any]) -> dict[str, Any]:
        """Settings that were saved, perhaps by an older version, with all that were in force."""
        return saved

    def changed(self, **settings: Any) -> Self:
        """The same options but for some; setting one of two alternatives unsets the other."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}  # type: ignore[arg-type]
        return type(self)(**combined(type(self), values, settings))

    def require(self, name: str, good: bool, wanted: str) -> None:
        """Raise ValueError, that the named option must be ``wanted``, unless it is good."""
        if not good:
            raise ValueError(f"{flag(name)} must be {wanted}, not {getattr(self, name)}")

    def at_least(self, least: int, *names: str) -> None:
        """Raise ValueError unless each of the named options is ``least`` or more, or None."""
        for name in names:
            value = getattr(self, name)
            self.require(name, value is None or value >= least, f"at least {least}")

    def above_zero(self, *names: str) -> None:
        """Raise ValueError unless each of the named options is finite and above 0, or None."""
        for name in names:
            value = getattr(self, name)
            self.require(name, value is None or 0 < value < math.inf, "finite and above 0")

    def fraction(self, *names: str) -> None:
        """Raise ValueError unless each of the named options lies in ``[0, 1)``, or is None."""
        for name in names:
            value = getattr(self, name)
            self.require(name, value is None or 0 <= value < 1, "at least 0 and below 1")

    def not_negative(self, *names: str) -> None:
        """Raise ValueError unless each of the named options is finite and at least 0, or None."""
        for name in names:
            value = getattr(self, name)
            self.require(name, value is None or 0 <= value < math.inf, "finite and at least 0")

    def one_of(self, name: str, known: typing.Iterable[str]) -> None:
        """Raise ValueError unless the named option is one of those known."""
        known = tuple(known)
        self.require(name, getattr(self, name) in known, f"one of {', '.join(known)}")

    def seeded(self, name: str = "seed") -> None:
        """Raise ValueError unless the named option can seed every generator."""
        self.require(name, 0 <= getattr(self, name) < 2**32, "an integer from 0 to 2**32 - 1")

    def check_literals(self) -> None:
        """Raise ValueError unless every option whose type is a `Literal` is one of its values."""
        for name, hint in typing.get_type_hints(type(self)).items():
            if typing.get_origin(hint) is Literal:
                self.one_of(name, typing.get_args(hint))


def combined(options: type[Options], *sources: dict[str, Any]) -> dict[str, Any]:
    """The settings of several sources, of which a later one wins.

    Of two alternatives it is the later source that decides, whichever it names.
    """
    settings: dict[str, Any] = {}
    for source in sources:
        for pair in options.alternatives:
            if any(source.get(name) is not None for name in pair):
                settings |= dict.fromkeys(pair)
        settings |= source
    return settings


def section_of(options: type, name: str) -> str:
    """The heading over an option: that of the class that declares it."""
    for cls in options.__mro__:
        if name in inspect.get_annotations(cls):
            return str(getattr(cls, "section", Options.section))
    return Options.section
