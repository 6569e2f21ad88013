"""What the package knows of JAX's internals: jaxprs, meshes, clusters, the wording of errors.

JAX promises none of it. Where a jaxpr cannot be read, because a new JAX writes it otherwise, each
function here falls back to what is right without it, as its docstring states.
"""

from rnn_jax.jaxprs.layouts import portable, row_major
from rnn_jax.jaxprs.meshes import (
    cluster,
    in_auto_mode,
    spec_of,
    sum_over,
    vary_alike,
    vary_over,
    varying_axes,
)
from rnn_jax.jaxprs.mosaic import Device, device, kernel, kernel_function, strided
from rnn_jax.jaxprs.programs import (
    COSTLY,
    grouped,
    hoisted,
    only_added,
    returns_an_argument,
    returns_one_value,
    saving_costly,
)
from rnn_jax.jaxprs.refusal import refuse
from rnn_jax.jaxprs.tracing import is_traced, jit_disabled, reverse_mode_only, scan

__all__ = [
    "COSTLY",
    "Device",
    "cluster",
    "device",
    "grouped",
    "hoisted",
    "in_auto_mode",
    "is_traced",
    "jit_disabled",
    "kernel",
    "kernel_function",
    "only_added",
    "portable",
    "refuse",
    "returns_an_argument",
    "returns_one_value",
    "reverse_mode_only",
    "row_major",
    "saving_costly",
    "scan",
    "spec_of",
    "strided",
    "sum_over",
    "vary_alike",
    "vary_over",
    "varying_axes",
]
