"""Truncated backpropagation through time: what each kind cuts, and how it is applied."""

from rnn_jax.truncation.kinds import (
    Chunked,
    Full,
    Randomized,
    Sliding,
    Tail,
    Truncation,
    chunked,
    full,
    parse_truncation,
    randomized,
    sliding,
    tail,
)
from rnn_jax.truncation.truncate import Truncated, truncate
from rnn_jax.truncation.truncated_scan import truncated_scan

__all__ = [
    "Chunked",
    "Full",
    "Randomized",
    "Sliding",
    "Tail",
    "Truncated",
    "Truncation",
    "chunked",
    "full",
    "parse_truncation",
    "randomized",
    "sliding",
    "tail",
    "truncate",
    "truncated_scan",
]
