"""What the package asks of a cell beyond the protocol, declared once with its defaults."""

from __future__ import annotations

from typing import ClassVar, Literal

from rnn_jax.types import Cell

__all__ = ["BaseCell", "Form", "form_of", "input_table_of"]

Form = Literal["plain", "pointwise", "linear"]


class BaseCell:
    """The members that every cell of the package has; a cell of your own may do without them.

    ``form`` says which fast recurrence `unroll` may take: "pointwise" for a `PointwiseCell`,
    "linear" for a `LinearCell`, "plain" for the plain scan. It is settled when a class is made: a
    class that writes its own ``step`` is no longer what its form says, and becomes "plain".
    """

    form: ClassVar[Form] = "plain"

    @property
    def input_table(self) -> tuple[str, ...] | None:
        """Where in the parameters the rows stand that an integer input selects."""
        return None


def form_of(cell: Cell) -> Form:
    """The form of a cell, "plain" for one that declares none.

    Example:
      >>> import rnn_jax
      >>> form_of(rnn_jax.lstm(3)), form_of(rnn_jax.lru(3)), form_of(rnn_jax.lstm(3, proj_size=2))
      ('pointwise', 'linear', 'plain')
    """
    return cell.form if isinstance(cell, BaseCell) else "plain"


def input_table_of(cell: Cell) -> tuple[str, ...] | None:
    """``cell.input_table``, None for a cell that declares none."""
    return cell.input_table if isinstance(cell, BaseCell) else None
