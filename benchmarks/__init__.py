"""Benchmarks of rnn_jax: ``python -m benchmarks``."""
