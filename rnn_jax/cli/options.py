"""Command-line options from the fields of a dataclass, and errors as one sentence."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import sys
import typing
from collections.abc import Callable
from typing import Annotated, Any

import typer

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
    try:
        given = sys.argv[1:] if arguments is None else arguments
        code = app(given or ["--help"], standalone_mode=False)
    except ValueError as error:
        return _fail(str(error))
    except _CommandError as error:
        return _fail(error.format_message())
    except (KeyboardInterrupt, typer.Abort):
        print("interrupted", file=sys.stderr)
        return 130
    except OSError as error:
        return _fail(f"{error.filename or 'a file'}: {error.strerror or error}")
    except (MemoryError, OverflowError, NotImplementedError) as error:
        return _fail(f"a size is too large for this machine, lower it ({error})")
    return code if isinstance(code, int) else 0


def _fail(sentence: str) -> int:
    print(f"rnn-jax: {' '.join(sentence.split())}", file=sys.stderr)
    return 2
