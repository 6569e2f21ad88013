"""What a language model may read its tokens out by, in the place of one matrix for all of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

from rnn_jax.losses.reduction import Reduction
from rnn_jax.types import Array, Params

__all__ = ["Drawn", "Softmax"]


class Drawn(NamedTuple):
    """The words that one training step reads, of a read-out that does not read them all.

    ids: ``int[n]``, a word as often as it is read.
    rows: ``int[n]``, where in the tables that are at hand their rows stand: `ids` in whole tables.
    mask: ``bool[n]``, of which of them it is no target that is masked; None: of all.
    log_expected: ``float[S]``, the logarithm of how often each of the last S was expected there.
    """

    ids: Array
    rows: Array
    mask: Array | None
    log_expected: Array


class Softmax(ABC):
    """The base of read-outs such as `adaptive_softmax` and `sampled_softmax`.

    A class is a frozen dataclass of hyperparameters and adds the abstract methods.
    """

    @property
    def tables(self) -> tuple[str, ...]:
        """The parameters ``[V, …]`` of which a step reads the rows of the words drawn only."""
        return ()

    @property
    def noise(self) -> str | None:
        """What it draws while training, for messages; None: nothing."""
        return None

    @abstractmethod
    def check(self, vocab_size: int) -> None:
        """Raise ValueError where it does not fit a vocabulary."""

    @abstractmethod
    def init(self, key: Array, features: int, vocab_size: int, *, bias: bool) -> Params:
        """Its parameters, for features ``[…, H]``."""

    @abstractmethod
    def logits(self, params: Params, features: Array) -> Array:
        """``[…, V]``, whose softmax is the model's distribution, exactly."""

    def draw(self, key: Array, targets: Array, mask: Array | None, vocab_size: int) -> Drawn | None:
        """The words that the step with this key reads; None: all of them."""
        return None

    @abstractmethod
    def loss(
        self,
        params: Params,
        features: Array,
        targets: Array,
        *,
        mask: Array | None = None,
        reduction: Reduction = "mean",
        label_smoothing: float = 0.0,
        drawn: Drawn | None = None,
    ) -> Array:
        """What `cross_entropy` of `logits` is, without them: exactly, or over the words drawn."""
