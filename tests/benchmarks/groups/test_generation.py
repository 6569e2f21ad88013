"""Generation: its check against the oracle."""

from __future__ import annotations

import pytest

from benchmarks.groups import generation
from benchmarks.measuring.oracle import Wrong
from benchmarks.measuring.workloads import Language

SMALL = Language("test", "gru", 7, 4, 2, 6, 3, 2, 0.5, 5.0)


def test_generation_is_checked_against_the_oracle() -> None:
    arrays, prefix = SMALL.arrays(), SMALL.tokens(1)[0, :1]
    tokens = generation._ours(SMALL, arrays, prefix).result()["tokens"]
    generation.check_greedy(SMALL, arrays, prefix, tokens)
    for wrong in ((tokens + 1) % SMALL.vocab, tokens[1:]):
        with pytest.raises(Wrong, match="wrong: "):
            generation.check_greedy(SMALL, arrays, prefix, wrong)
