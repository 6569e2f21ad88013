"""Command-line options from the fields of a dataclass, and errors as one sentence."""

from __future__ import annotations

import _thread
import contextlib
import dataclasses
import functools
import inspect
import os
import sys
import threading
import typing
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import jax
import typer
from typer.core import TyperCommand

from rnn_jax.host.options import SEVERAL, Options, combined, flag, section_of
from rnn_jax.host.settings_file import read_settings
from rnn_jax.host.startup import interrupts_as_usual

__all__ = ["SectionedCommand", "run", "with_options"]

# Typer carries a copy of click in some versions and imports it in others: this is its class.
_CommandError: Any = next(
    cls for cls in typer.BadParameter.__mro__ if cls.__name__ == "ClickException"
)


class SectionedCommand(TyperCommand):
    """A command whose help lists its options by subject, under the headings of `Options`."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the options, section by section."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                section = getattr(param, "rich_help_panel", None) or "Command"
                sections.setdefault(section, []).append(record)
        for section, records in sections.items():
            with formatter.section(section):
                formatter.write_dl(records)


def with_options(config: type[Options]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command one option for each field of a dataclass, and ``--config`` for a file of them.

    A field's default is the option's, its ``metadata["help"]`` the text beside it. The command gets
    the dataclass first, and second the names of the fields that the user really set, on the command
    line or in the file; what stands on the command line wins.
    """
    hints = typing.get_type_hints(config)
    fields = dataclasses.fields(config)  # type: ignore[arg-type]

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        own = list(inspect.signature(command, eval_str=True).parameters.values())[2:]

        @functools.wraps(command)
        def wrapper(context: typer.Context, **values: Any) -> Any:
            flags = {}
            for name in [field.name for field in fields]:
                source, value = context.get_parameter_source(name), values.pop(name)
                if source and source.name == "COMMANDLINE":
                    flags[name] = value
            for name, sentence in config.refused.items():
                if values.pop(name):
                    raise ValueError(sentence)
            settings, given = _settings(config, values.pop("config"), flags, [p.name for p in own])
            return command(settings, given, **values)

        options = [
            _parameter(
                field.name,
                hints[field.name],
                field.default,
                typer.Option(
                    help=field.metadata["help"], rich_help_panel=section_of(config, field.name)
                ),
            )
            for field in fields
        ]
        options += [
            _parameter(name, bool, False, typer.Option(flag(name), hidden=True))
            for name in config.refused
        ]
        options.append(_parameter("config", str | None, None, typer.Option(help=_CONFIG_HELP)))
        keyword_only = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
        context = inspect.Parameter(
            "context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context
        )
        signature = inspect.Signature([context, *keyword_only, *options])
        wrapper.__signature__ = signature  # type: ignore[attr-defined]
        wrapper.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
        return wrapper

    return decorate


_CONFIG_HELP = (
    "File of settings: a .toml of them under their names, or the config.json of a run; what stands "
    "on the command line wins."
)


def _parameter(name: str, hint: Any, default: Any, option: Any) -> inspect.Parameter:
    if hint == SEVERAL:  # a flag that may be given several times
        hint, default = list[str], [default]
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[hint, option]
    )


def _settings(
    options: type[Options], path: str | None, flags: dict[str, Any], others: list[str]
) -> tuple[Any, set[str]]:
    """The options of a file and of the command line, and the names of those that were set."""
    if path is None:
        return options(**flags), set(flags)
    file = read_settings(path, options, others)
    try:
        return options(**combined(options, file, flags)), {*file, *flags}
    except ValueError as error:
        try:
            options(**file)
        except ValueError as of_file:
            if str(of_file) == str(error):
                raise ValueError(f"{path}: {error}") from None
        raise


def run(app: typer.Typer, arguments: list[str] | None) -> int:
    """Run a command line; bad input is one sentence on stderr and exit code 2."""
    interrupts_as_usual()
    try:
        with _short_warnings(), _no_interrupt_lost():
            given = sys.argv[1:] if arguments is None else arguments
            code = app(given or ["--help"], standalone_mode=False)
            if sys.stdout is not None:
                sys.stdout.flush()  # here, where it can still be told that it failed
    except ValueError as error:
        return _fail(str(error))
    except _CommandError as error:
        return _fail(error.format_message())
    except (KeyboardInterrupt, typer.Abort):
        print("interrupted", file=sys.stderr)
        return 130
    except (BrokenPipeError, SystemExit):  # the latter is what click makes of the former
        _discard_output()
        return _fail("standard output was closed, so the command has stopped", 141)
    except OSError as error:
        _discard_output()
        return _fail(f"{error.filename or 'a file'}: {error.strerror or error}")
    except (MemoryError, OverflowError, NotImplementedError) as error:
        return _fail(f"a size is too large for this machine, lower it ({error})")
    except jax.errors.JaxRuntimeError as error:
        if not any(sign in str(error) for sign in ("RESOURCE_EXHAUSTED", "ut of memory")):
            raise
        first = str(error).splitlines()[0]
        return _fail(f"the memory does not suffice, choose smaller sizes ({first})")
    return code if isinstance(code, int) else 0


def _fail(sentence: str, code: int = 2) -> int:
    print(f"rnn-jax: {' '.join(sentence.split())}", file=sys.stderr)
    return code


@contextmanager
def _no_interrupt_lost() -> Iterator[None]:
    """Ctrl-C comes again where Python drops it: in a destructor, or while it collects garbage."""
    before = sys.unraisablehook

    def hook(dropped: Any) -> None:
        if dropped.exc_type is KeyboardInterrupt:
            # In a moment: from here it would be dropped once more.
            threading.Timer(0.02, _thread.interrupt_main).start()
        else:
            before(dropped)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before


@contextmanager
def _short_warnings() -> Iterator[None]:
    """Warnings as one line, without the place in the code."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        print(f"rnn-jax: warning: {' '.join(str(message).split())}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def _discard_output() -> None:
    """Keep Python from writing at its end what standard output has not taken."""
    try:
        sys.stdout.flush()
    except OSError:
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
