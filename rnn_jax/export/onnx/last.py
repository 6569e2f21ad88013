"""The one output of a sequence for which all of its steps have been read."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import numpy as np

from rnn_jax.export.onnx.flow import Flow, Stream
from rnn_jax.export.onnx.graph import joined
from rnn_jax.export.onnx.layers import layer_nodes, merged
from rnn_jax.export.reads import bare
from rnn_jax.layers import Bidirectional, Serial
from rnn_jax.layers.base import adapted
from rnn_jax.types import Carry, Layer, Params

__all__ = ["last_output"]


def last_output(
    flow: Flow, layer: Layer, params: Params, carry: Carry, xs: Stream, path: str
) -> tuple[Carry, str]:
    """As `layer_nodes`, with the one output ``[B, …]`` for which every step has been read."""
    layer = bare(layer)
    if type(layer) is Bidirectional:
        after, outputs = [], []
        for name, own in zip(("forward", "backward"), carry, strict=True):
            half = getattr(layer, name)
            new, value = last_output(flow, half, params[name], own, xs, joined(path, name))
            after.append(new)
            outputs.append(Stream(value, half.output_size))
        return tuple(after), merged(flow, layer, outputs).value
    if type(layer) is Serial and not layer.causal:
        return _last_of_serial(flow, layer, params, carry, xs, path)
    new, ys = layer_nodes(flow, layer, params, carry, xs, path)
    return new, (flow.at_first if adapted(layer).reverse else flow.at_last)(ys)


def _last_of_serial(
    flow: Flow, layer: Serial, params: Params, carry: Carry, xs: Stream, path: str
) -> tuple[Carry, str]:
    """Layers above the highest one with a carry act on each step alone: they read one step."""
    g, parts = flow.graph, layer.layers
    top = max(i for i, p in enumerate(parts) if not p.causal or jax.tree.leaves(carry[i]))
    below, above = Serial(parts[:top]), parts[top + 1 :]
    new, ys = layer_nodes(flow, below, params, carry[:top], xs, path)
    own = params.get(str(top), {})
    highest, value = last_output(flow, parts[top], own, carry[top], ys, joined(path, str(top)))
    after: list[Carry] = [*new, highest]
    ys = Stream(g.add("Unsqueeze", value, g.integers(0)), parts[top].output_size or ys.size)
    one = _OneStep.of(flow, ys.value)
    for i, part in enumerate(above, start=top + 1):
        rest, ys = layer_nodes(
            one, part, params.get(str(i), {}), carry[i], ys, joined(path, str(i))
        )
        after.append(rest)
    return tuple(after), g.add("Squeeze", ys.value, g.integers(0))


@dataclass(frozen=True)
class _OneStep(Flow):
    """The flow of one step, which is padding for a row without any."""

    @classmethod
    def of(cls, flow: Flow, value: str) -> _OneStep:
        lengths = flow.lengths
        if lengths is not None:
            one = flow.graph.constant(np.array(1, np.int32), "one")
            lengths = flow.graph.add("Min", lengths, one)
        sizes = type(flow.sizes)(flow.graph, value)
        return cls(flow.graph, sizes, lengths)
