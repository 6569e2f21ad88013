"""The control and the operations that times are judged by."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.measuring import flops
from benchmarks.measuring.control import control
from benchmarks.measuring.machine import throttle_events
from benchmarks.measuring.workloads import Recurrence


def test_the_control_is_measured() -> None:
    result: Any = control()()
    loss, gradients = result
    assert np.isfinite(loss) and all(np.isfinite(g).all() for g in gradients)
    assert throttle_events() is None or throttle_events() >= 0  # type: ignore[operator]


def test_operations_are_counted_as_on_paper() -> None:
    workload = Recurrence("lstm", 16, 3, 128, 64)
    forward = flops.layer_pass(workload, "forward").flops
    assert forward == 2 * 3 * 16 * 4 * 128 * (128 + 64)
    assert flops.layer_pass(workload, "forward+backward").flops == 3 * forward
    by_inputs = 2 * 3 * 16 * 4 * 128 * 64
    assert flops.layer_pass(workload, "many-steps").flops == 3 * forward - by_inputs
