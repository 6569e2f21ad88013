"""``python -m benchmarks accelerator``: what a GPU or TPU does, in a few minutes of it."""
