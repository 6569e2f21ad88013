"""Which NVIDIA GPUs of a machine are those of JAX, by their addresses on the PCI bus.

JAX numbers GPUs as CUDA does, that is after ``CUDA_VISIBLE_DEVICES`` and by default the fastest
first; NVML and nvidia-smi number all of the machine by their place on the bus.
"""

from __future__ import annotations

import ctypes
from typing import Any

import jax

__all__ = ["bus_ids"]


def bus_ids(driver: Any = None) -> tuple[str, ...]:
    """Such as ``"0000:3B:00.0"``, of all GPUs of JAX in this process; empty where there are none.

    driver: CUDA's, ``libcuda.so.1`` by default; it is asked, since JAX does not tell addresses.

    Raises:
      OSError: there is no such driver, or it does not know a GPU of JAX.
    """
    gpus = [device for device in jax.local_devices() if device.platform in ("gpu", "cuda")]
    if not gpus:
        return ()
    cuda = ctypes.CDLL("libcuda.so.1") if driver is None else driver
    found = []
    for gpu in gpus:
        handle, text = ctypes.c_int(), ctypes.create_string_buffer(32)
        ordinal = gpu.local_hardware_id
        code = cuda.cuDeviceGet(ctypes.byref(handle), ordinal)
        code = code or cuda.cuDeviceGetPCIBusId(text, len(text), handle)
        if code:
            raise OSError(f"CUDA does not tell where GPU {ordinal} is (its error {code})")
        found.append(text.value.decode("ascii"))
    return tuple(dict.fromkeys(found))  # parts of one GPU have one address
