"""Generation: tokens or numbers made step by step, each read next, with the state carried along."""

from rnn_jax.generation.beam_search import beam_search
from rnn_jax.generation.generate import generate
from rnn_jax.generation.predict import predict
from rnn_jax.generation.run_freely import run_freely
from rnn_jax.generation.stream import stream

__all__ = ["beam_search", "generate", "predict", "run_freely", "stream"]
