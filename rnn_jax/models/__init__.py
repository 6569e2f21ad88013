"""Models: sequences in, logits out."""

from rnn_jax.models.encoder_decoder import EncoderDecoder, encoder_decoder
from rnn_jax.models.language_model import LanguageModel, language_model
from rnn_jax.models.sequence_classifier import SequenceClassifier, sequence_classifier

__all__ = [
    "EncoderDecoder",
    "LanguageModel",
    "SequenceClassifier",
    "encoder_decoder",
    "language_model",
    "sequence_classifier",
]
