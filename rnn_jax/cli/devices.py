"""``--devices``: which of the devices that JAX sees a command trains on."""

from __future__ import annotations

import jax
import numpy as np
from jax.sharding import Mesh

__all__ = ["mesh_of"]


def mesh_of(devices: str | None, batch_size: int) -> Mesh | None:
    """The mesh of the first so many devices, or of all; None without the option in one process.

    Raises:
      ValueError: it is neither a number nor "all", there are fewer devices, or they cannot share a
        batch evenly.

    Example:
      >>> mesh_of("1", 32).axis_names
      ('data',)
    """
    if devices is None:
        if jax.process_count() == 1:
            return None
        devices = "all"
    there = jax.devices()
    if devices != "all" and not (devices.isascii() and devices.isdigit() and int(devices)):
        raise ValueError(f"--devices must be a number of at least 1, or all, not {devices}")
    count = len(there) if devices == "all" else int(devices)
    if count > len(there):
        virtual = f"XLA_FLAGS=--xla_force_host_platform_device_count={count}"
        on_cpu = f", or try it on virtual ones, by {virtual}" if there[0].platform == "cpu" else ""
        raise ValueError(
            f"--devices {devices} is more than the {len(there)} that there are "
            f"({there[0].device_kind}): ask for fewer{on_cpu}"
        )
    if batch_size % count:
        raise ValueError(
            f"{count} devices cannot share --batch-size {batch_size} evenly: choose a multiple of "
            f"{count}, or other --devices"
        )
    left_out = {device.process_index for device in there[count:]}
    left_out -= {device.process_index for device in there[:count]}
    if left_out:
        raise ValueError(
            f"--devices {devices} leaves process {min(left_out)} without a device: choose more, up "
            f"to all {len(there)}, or fewer processes"
        )
    return Mesh(np.array(there[:count]), ("data",))
