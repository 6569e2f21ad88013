"""ONNX files: real LSTM, GRU and RNN operators, and the rest as small operators around them."""

from rnn_jax.export.onnx.to_onnx import to_onnx

__all__ = ["to_onnx"]
