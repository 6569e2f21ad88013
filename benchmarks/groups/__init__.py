"""The groups of cases by name: a file each, whose ``GROUP`` states everything about it."""

from __future__ import annotations

from benchmarks.group import Group
from benchmarks.groups import (
    backends,
    batch_scaling,
    ceilings,
    compilation,
    compiler,
    deepbench,
    devices,
    generation,
    hidden_scaling,
    input,
    laws,
    recurrence,
    reference,
    sequence_scaling,
    serving,
    sliding,
    stacks,
    training,
    truncation,
    vocabulary,
)

__all__ = ["GROUPS"]

# In the order in which they are measured, and in which they follow each other on the page.
GROUPS: dict[str, Group] = {
    module.GROUP.name: module.GROUP
    for module in (
        ceilings,
        reference,
        recurrence,
        stacks,
        deepbench,
        sequence_scaling,
        hidden_scaling,
        batch_scaling,
        vocabulary,
        training,
        generation,
        serving,
        truncation,
        sliding,
        devices,
        compilation,
        input,
        laws,
        backends,
        compiler,
    )
}
