"""How a text is cut, and how far gradients reach back in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from rnn_jax.diagnostics.adaptive import check_bound
from rnn_jax.host.options import Options, option
from rnn_jax.truncation import parse_truncation

__all__ = ["BatchSettings"]


@dataclass(frozen=True)
class BatchSettings(Options):
    """Batches and the truncation of their gradients."""

    section: ClassVar[str] = "Batches and truncation"

    bptt: str = option(
        "full",
        "Truncation: full, chunked:35, sliding:4, tail:4 or randomized:0.9; adaptive:0.1 is "
        "sliding, with as many steps as keep the measured relative bias within 0.1.",
    )
    batching: Literal["sentences", "sequential", "random"] = option(
        "sequential",
        "One sentence after the other (loss summed), or windows of --seq-length tokens (loss "
        "averaged) that continue each other or come in random order.",
    )
    batch_size: int = option(32, "Sentences or windows a step.")
    seq_length: int = option(35, "Tokens of a window.")
    reset_at_documents: bool = option(
        False,
        "Start anew from the initial state wherever a text of the corpus begins, such as a row of "
        "a .csv file.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("batch_size", "seq_length"):
            self.at_least(1, name)
            self.require(name, getattr(self, name) < 2**31, "below 2**31")
        if self.in_sentences and self.reset_at_documents:
            raise ValueError(
                "--reset-at-documents is for streams, and with --batching sentences every sentence "
                "starts anew already: leave it out, or use --batching sequential or random"
            )
        try:
            if self.bias_bound is None:
                parse_truncation(self.bptt)
        except ValueError as error:
            hint = "" if self.bptt.startswith("adaptive") else "; or adaptive:0.1, by measured bias"
            raise ValueError(f"--bptt {error}{hint}") from None
        if self.bias_bound is not None and self.reset_at_documents:
            raise ValueError(
                "--bptt adaptive measures how far gradients reach in a stream that is never reset: "
                "with --reset-at-documents give a number of steps, such as sliding:8"
            )

    @property
    def bias_bound(self) -> float | None:
        """The bound of ``--bptt adaptive:BOUND``; None for a truncation that is fixed."""
        name, _, number = self.bptt.strip().partition(":")
        if name != "adaptive":
            return None
        try:
            bound = float(number)
        except ValueError:
            raise ValueError(
                f"{self.bptt!r} is not a truncation: write adaptive:0.1, with the relative bias to "
                "keep to"
            ) from None
        check_bound(bound)
        return bound

    @property
    def in_sentences(self) -> bool:
        """Whether a step sees whole sentences, and not windows of a stream."""
        return self.batching == "sentences"

    @property
    def stateful(self) -> bool:
        """Whether a batch continues the one before it."""
        return self.batching == "sequential"
