"""Training and losses handed something else: one sentence each, and nothing taken in silence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rnn_jax as r
from rnn_jax.training import consecutive, covering, sentence_stream

MODEL = r.language_model(9, r.recurrent(r.gru(4)))
OPTIMIZER: Any = optax.adam(0.1)
PARAMS = MODEL.init(jax.random.key(0))
STATE = r.init_train_state(MODEL, OPTIMIZER, PARAMS)
IDS, X = jnp.ones((3, 2), int), jnp.ones((3, 2, 9))
DATA = r.Windows(IDS[None], IDS[None])
init: Any = r.init_train_state
step: Any = r.make_train_step(MODEL, OPTIMIZER)
loop: Any = r.make_train_steps(step)
evaluate: Any = r.make_evaluate(MODEL)
make: Any = r.make_train_step
ce: Any = r.cross_entropy
ridge: Any = r.ridge
BATCH = r.Batch(IDS, IDS)
LONG = np.full(30, 2**40)

CALLS: dict[str, tuple[Callable[[], Any], str]] = {
    "lists of logits": (lambda: ce([[1.0]], [0]), "the logits must be an array"),
    "lists of targets": (lambda: ce(X, [[0] * 2] * 3), "the targets must be an array"),
    "no logits": (lambda: ce(None, IDS), "the logits must be an array"),
    "a dict of logits": (lambda: ce({"a": X}, IDS), "the logits must be an array"),
    "complex logits": (lambda: ce(X + 0j, IDS), "the logits must be real, not complex64"),
    "one logit": (lambda: ce(X[0, 0, 0], IDS[0, 0]), "do not fit"),
    "a list as mask": (lambda: ce(X, IDS, mask=[[True] * 2] * 3), "the mask must be an array"),
    "no loss": (lambda: r.perplexity(None), "the loss must be an array"),  # type: ignore[arg-type]
    "no features": (lambda: ridge(None, X, penalty=1.0), "features must be an array"),
    "complex targets": (lambda: ridge(X, X + 0j, penalty=1.0), "targets must be real"),
    "no penalty": (lambda: ridge(X, X, penalty=None), "the penalty must be"),
    "no parameters": (lambda: init(MODEL, OPTIMIZER, None), "hold no array"),
    "empty parameters": (lambda: init(MODEL, OPTIMIZER, {}), "hold no array"),
    "lists of parameters": (lambda: init(MODEL, OPTIMIZER, {"w": [1.0]}), r"w\.0 among the param"),
    "complex parameters": (lambda: init(MODEL, OPTIMIZER, {"w": X + 0j}), "must be an array of fl"),
    "no model": (lambda: init(None, OPTIMIZER, PARAMS), "a model is wanted"),
    "an optimiser's name": (
        lambda: init(MODEL, "adam", PARAMS),
        "the optimiser must be one of opt",
    ),
    "a factory": (lambda: make(MODEL, optax.adam), "the optimiser must be one of optax"),
    "a batch size": (lambda: init(MODEL, OPTIMIZER, PARAMS, batch_shape=3), "a tuple of integers"),
    "a loss's name": (lambda: make(MODEL, OPTIMIZER, loss="mse"), "the loss must be a function"),
    "losses": (
        lambda: make(MODEL, OPTIMIZER, loss=lambda x, y, mask: x)(STATE, BATCH),
        r"the loss must be one real number, not float32\[3, 2, 9\]",
    ),
    "parameters for a state": (lambda: step(PARAMS, BATCH), "from a TrainState, not dict"),
    "the same under jit": (lambda: jax.jit(step)(PARAMS, BATCH), "from a TrainState, not dict"),
    "no batch": (lambda: step(STATE, None), "a batch is Batch"),
    "half a batch": (lambda: step(STATE, (IDS,)), "not tuple of 1"),
    "an array for a batch": (lambda: step(STATE, IDS[:2]), "a batch is Batch"),
    "a dict for a batch": (lambda: step(STATE, {"inputs": IDS, "targets": IDS}), "not dict"),
    "lists in a batch": (lambda: step(STATE, r.Batch([[1]], [[1]])), "a sequence must be an array"),  # type: ignore[arg-type]
    "no targets": (lambda: step(STATE, (IDS, None)), "the targets of a batch must be an array"),
    "another optimiser's state": (
        lambda: step(STATE._replace(opt_state=optax.sgd(0.1).init(PARAMS)), BATCH),
        "the state's opt_state is not one of this optimiser",
    ),
    "no step": (lambda: r.make_train_steps(None), "a step from make_train_step is wanted"),  # type: ignore[arg-type]
    "a loop over parameters": (lambda: loop(PARAMS, DATA, 0, 1), "from a TrainState, not dict"),
    "a loop over a batch": (lambda: loop(STATE, BATCH, 0, 1), "Windows or a SentenceStream"),
    "a loop from -1": (lambda: loop(STATE, DATA, -1, 1), "begin must be an integer of at least 0"),
    "a loop to 1.0": (lambda: loop(STATE, DATA, 0, 1.0), "end must be an integer of at least 0"),
    "lists in windows": (
        lambda: loop(STATE, r.Windows([[[1]]], [[[1]]]), 0, 1),  # type: ignore[arg-type]
        "the inputs of Windows must be an array",
    ),
    "evaluation of nothing": (lambda: evaluate({}, DATA), "hold no array"),
    "evaluation of a state": (lambda: evaluate(STATE, DATA), "must be an array of floats"),
    "evaluation on nothing": (lambda: evaluate(PARAMS, None), "Windows or a SentenceStream"),
    "a rate in words": (lambda: r.sgd("fast"), "must be a finite number"),  # type: ignore[arg-type]
    "no rate": (lambda: r.sgd(float("nan")), "must be a finite number"),
    "floats as ids": (lambda: covering(np.ones(30), 2, 3), "ids must be integers in one row"),
    "ids in a table": (lambda: consecutive(np.ones((30, 2), int), 2, 3), "integers in one row"),
    "ids that would wrap": (lambda: covering(LONG, 2, 3), "within 32 bits"),
    "a stream that would wrap": (
        lambda: sentence_stream(LONG, np.array([0, 3]), buckets=(2,)),
        "within 32 bits",
    ),
    "a stream that is too short": (
        lambda: sentence_stream(np.ones(3, int), np.array([0, 30]), buckets=(40,)),
        "offsets must increase from 0 to the 3 tokens",
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_one_sentence(name: str) -> None:
    call, sentence = CALLS[name]
    with pytest.raises(ValueError, match=sentence) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_lists_of_ids_are_ids() -> None:
    expected = covering(np.arange(14), 2, 3)
    np.testing.assert_array_equal(covering([*range(14)], 2, 3).inputs, expected.inputs)  # type: ignore[arg-type]
    stream = sentence_stream([0, 5, 1], [0, 3], buckets=(2,))  # type: ignore[arg-type]
    assert stream.count == 1


def test_donated_parameters_are_told_from_others() -> None:
    params = MODEL.init(jax.random.key(1))
    kept = jax.tree.map(jnp.copy, params)
    before, _ = evaluate(params, DATA)
    state = r.init_train_state(MODEL, OPTIMIZER, params)
    new, _ = loop(state, DATA, 0, 1)
    for again in (
        lambda: evaluate(params, DATA),
        lambda: init(MODEL, OPTIMIZER, params),
        lambda: loop(state, DATA, 0, 1),
        lambda: step(state, BATCH),
    ):
        with pytest.raises(ValueError, match=r"is deleted, because .* hand a copy to init_train_s"):
            again()
    assert evaluate(kept, DATA)[0] == before
    assert evaluate(new.params, DATA)[0] < before
