"""What a language model may read its tokens out by, in the place of one matrix for all of them."""

from __future__ import annotations

from rnn_jax.losses.reduction import Reduction
from rnn_jax.types import Array, Params

__all__ = ["Softmax"]


class Softmax:
    """The base of read-outs such as `adaptive_softmax` and `sampled_softmax`.

    A class is a frozen dataclass of hyperparameters and adds the methods below.
    """

    @property
    def noise(self) -> str | None:
        """What it draws while training, for messages; None: nothing."""
        return None

    def check(self, vocab_size: int) -> None:
        """Raise ValueError where it does not fit a vocabulary."""

    def init(self, key: Array, features: int, vocab_size: int, *, bias: bool) -> Params:
        """Its parameters, for features ``[…, H]``."""
        raise NotImplementedError

    def logits(self, params: Params, features: Array) -> Array:
        """``[…, V]``, whose softmax is the model's distribution, exactly."""
        raise NotImplementedError

    def loss(
        self,
        params: Params,
        features: Array,
        targets: Array,
        *,
        mask: Array | None = None,
        reduction: Reduction = "mean",
        label_smoothing: float = 0.0,
        key: Array | None = None,
    ) -> Array:
        """What `cross_entropy` of `logits` is, without them; with a key, what training minimises.

        Without a key it is exact.
        """
        raise NotImplementedError
