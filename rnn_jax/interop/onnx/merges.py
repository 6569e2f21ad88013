"""Two recurrent nodes over one sequence, one in each direction, as one layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rnn_jax.interop.onnx.node import Node
from rnn_jax.interop.onnx.values import Atom, Steps, Value
from rnn_jax.interop.parts import Part
from rnn_jax.layers.bidirectional import Merge, bidirectional
from rnn_jax.layers.recurrent import Recurrent

__all__ = ["merged"]


def merged(node: Node, values: Sequence[Value | None], merge: Merge) -> Value:
    """Outputs of two nodes, forwards and in reverse, joined or added."""
    pair = [value for value in values if isinstance(value, Steps) and value.parts]
    if len(values) == len(pair) == 2:
        pooled = [steps.parts[-1] for steps in pair if steps.parts[-1].pooling == "last"]
        if len(pooled) == 2:  # of each direction the step at which it has read all
            pair = [replace(steps, parts=steps.parts[:-1]) for steps in pair]
        one, two = pair
        ahead, back = one.parts[-1], two.parts[-1]
        if (
            _alike(one, two, merge)
            and isinstance(ahead.layer, Recurrent)
            and isinstance(back.layer, Recurrent)
            and (ahead.layer.reverse, back.layer.reverse) == (False, True)
        ):
            layer = bidirectional(ahead.layer, back.layer, merge=merge)
            params = {"forward": ahead.params, "backward": back.params}
            return replace(
                one,
                axes=(*one.axes[:-1], (Atom("both", layer.output_size),)),
                features=("both",),
                parts=(*one.parts[:-1], Part(layer, params), *pooled[:1]),
            )
    return node.no("joins what are not both directions of one layer")


def _alike(one: Steps, two: Steps, merge: Merge) -> bool:
    """Whether both differ in the top layer only: one sequence, axes, lengths, layers below."""
    below = [steps.parts[:-1] for steps in (one, two)]
    # Side by side, the directions may differ in how many units they have.
    bare = [
        replace(steps, parts=(), axes=steps.axes if merge == "sum" else steps.axes[:-1])
        for steps in (one, two)
    ]
    return (
        bare[0] == bare[1]
        and one.features_last
        and two.features_last
        and len(below[0]) == len(below[1])
        and all(a is b for a, b in zip(*below, strict=True))
    )
