"""All steps of a recurrence in one kernel of a GPU: ``backend="pallas"``."""

from rnn_jax.recurrence.gpu.settings import Kernel

__all__ = ["Kernel"]
