from typing import Any

from rnn_jax.types import Params


def averaged(opt_state: Any, params: Params) -> Params:
    return params
