"""Trained layers and models as programs that run without this package."""

from rnn_jax.export.onnx import to_onnx
from rnn_jax.export.stablehlo import to_stablehlo

__all__ = ["to_onnx", "to_stablehlo"]
