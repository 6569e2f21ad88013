"""Models: tokens in, logits out."""

from rnn_jax.models.language_model import LanguageModel, language_model

__all__ = ["LanguageModel", "language_model"]
