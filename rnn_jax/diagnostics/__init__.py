"""What happens inside a recurrent network: gradient flow, state Jacobians, gates, and plots."""

from rnn_jax.diagnostics.adaptive import AdaptiveTruncation, adaptive_truncation
from rnn_jax.diagnostics.gradient_flow import GradientFlow, gradient_flow
from rnn_jax.diagnostics.jacobians import state_jacobians
from rnn_jax.diagnostics.plots import (
    plot_gate_saturation,
    plot_gradient_flow,
    plot_state_jacobians,
)
from rnn_jax.diagnostics.saturation import GateSaturation, gate_saturation

__all__ = [
    "AdaptiveTruncation",
    "GateSaturation",
    "GradientFlow",
    "adaptive_truncation",
    "gate_saturation",
    "gradient_flow",
    "plot_gate_saturation",
    "plot_gradient_flow",
    "plot_state_jacobians",
    "state_jacobians",
]
