"""Models: sequences in, logits or numbers out."""

from rnn_jax.models.adaptive_softmax import AdaptiveSoftmax, adaptive_softmax
from rnn_jax.models.encoder_decoder import EncoderDecoder, encoder_decoder
from rnn_jax.models.language_model import LanguageModel, language_model
from rnn_jax.models.sampled_softmax import SampledSoftmax, sampled_softmax
from rnn_jax.models.sequence_classifier import SequenceClassifier, sequence_classifier
from rnn_jax.models.sequence_tagger import SequenceTagger, sequence_tagger

__all__ = [
    "AdaptiveSoftmax",
    "EncoderDecoder",
    "LanguageModel",
    "SampledSoftmax",
    "SequenceClassifier",
    "SequenceTagger",
    "adaptive_softmax",
    "encoder_decoder",
    "language_model",
    "sampled_softmax",
    "sequence_classifier",
    "sequence_tagger",
]
