"""Command-line options from the fields of a dataclass, and errors as one sentence."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import os
import sys
import typing
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import jax
import typer

from rnn_jax.host.startup import interrupts_as_usual

__all__ = ["run", "with_options"]

# Typer carries a copy of click in some versions and imports it in others: this is its class.
_CommandError: Any = next(
    cls for cls in typer.BadParameter.__mro__ if cls.__name__ == "ClickException"
)


def with_options(config: type) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command one option for each field of a dataclass.

    A field's default is the option's, its ``metadata["help"]`` the text beside it. The command gets
    the dataclass first, and the names of the fields that the user really set second.
    """
    hints = typing.get_type_hints(config)
    fields = dataclasses.fields(config)

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def wrapper(context: typer.Context, **values: Any) -> Any:
            settings = {field.name: values.pop(field.name) for field in fields}
            sources = {name: context.get_parameter_source(name) for name in settings}
            given = {n for n, source in sources.items() if source and source.name == "COMMANDLINE"}
            return command(config(**settings), given, **values)

        own = list(inspect.signature(command, eval_str=True).parameters.values())[2:]
        options = [
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=field.default,
                annotation=Annotated[hints[field.name], typer.Option(help=field.metadata["help"])],
            )
            for field in fields
        ]
        keyword_only = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
        context = inspect.Parameter(
            "context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context
        )
        signature = inspect.Signature([context, *options, *keyword_only])
        wrapper.__signature__ = signature  # type: ignore[attr-defined]
        wrapper.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
        return wrapper

    return decorate


def run(app: typer.Typer, arguments: list[str] | None) -> int:
    """Run a command line; bad input is one sentence on stderr and exit code 2."""
    interrupts_as_usual()
    try:
        with _short_warnings():
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
