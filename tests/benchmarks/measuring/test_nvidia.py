"""Of several GPUs those that JAX has are asked, by a driver and an NVML that are not there."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import jax
import pytest

from benchmarks.measuring import energy, machine
from benchmarks.measuring.nvidia import bus_ids

# The machine's, as NVML numbers them, and their millijoules.
ON_THE_BUS = {"0000:17:00.0": 100, "0000:3B:00.0": 2_000, "0000:5E:00.0": 30_000}


class Driver:
    """CUDA's, as CUDA_VISIBLE_DEVICES=2,1 makes it number those."""

    visible = ("0000:5E:00.0", "0000:3B:00.0")

    def cuDeviceGet(self, handle: Any, ordinal: int) -> int:
        if not 0 <= ordinal < len(self.visible):
            return 101  # CUDA_ERROR_INVALID_DEVICE
        handle._obj.value = 7 + ordinal
        return 0

    def cuDeviceGetPCIBusId(self, text: Any, length: int, handle: Any) -> int:
        text.value = self.visible[handle.value - 7].encode()
        assert len(text.value) < length
        return 0


class NVMLError(Exception):
    pass


@pytest.fixture
def spent(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """What NVML has counted, of which the tests may add."""
    counted = dict(ON_THE_BUS)

    def by_address(address: str) -> str:
        if address not in counted:
            raise NVMLError("Not Found")
        return address

    nvml = SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByPciBusId=by_address,
        nvmlDeviceGetTotalEnergyConsumption=counted.__getitem__,
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.setattr("benchmarks.measuring.nvidia.ctypes.CDLL", lambda name: Driver())
    return counted


def jax_has(monkeypatch: pytest.MonkeyPatch, *ordinals: int, platform: str = "gpu") -> None:
    devices = [SimpleNamespace(platform=platform, local_hardware_id=i) for i in ordinals]
    monkeypatch.setattr(jax, "local_devices", lambda: devices)


@pytest.mark.parametrize(
    "ordinals, addresses",
    [((0,), ("0000:5E:00.0",)), ((1,), ("0000:3B:00.0",)), ((0, 1), Driver.visible)],
)
def test_energy_is_that_of_the_gpus_of_jax_alone(
    ordinals: tuple[int, ...],
    addresses: tuple[str, ...],
    spent: dict[str, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    jax_has(monkeypatch, *ordinals)
    assert bus_ids() == addresses
    counter = energy.counter.__wrapped__("gpu")
    for i, address in enumerate(ON_THE_BUS):
        spent[address] += 1000 * 10**i
    assert counter.read() == sum({"0000:3B:00.0": 10, "0000:5E:00.0": 100}[a] for a in addresses)


def test_a_gpu_that_is_not_found_is_a_reason(
    spent: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    jax_has(monkeypatch, 2)
    with pytest.raises(energy.NoCounter, match=r"where GPU 2 is \(its error 101\)"):
        energy.counter.__wrapped__("gpu")
    jax_has(monkeypatch, 1)
    del spent["0000:3B:00.0"]
    with pytest.raises(energy.NoCounter, match="NVML counts no energy here"):
        energy.counter.__wrapped__("gpu")


def test_a_row_has_the_facts_of_the_gpu_that_it_ran_on(
    spent: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, ...]] = []

    def run(*command: str) -> str:
        asked.append(command)
        return "580.1, 700.00 W, 1980 MHz"

    monkeypatch.setattr(machine, "_run", run)
    jax_has(monkeypatch, 1)
    assert machine._gpu.__wrapped__()["power.limit"] == "700.00 W"
    ((command, address, *_),) = asked
    assert (command, address) == ("nvidia-smi", "--id=0000:3B:00.0")
    # Of a GPU that JAX does not use, or cannot find, nothing is said.
    jax_has(monkeypatch, 0, platform="cpu")
    assert machine._gpu.__wrapped__() == {}
    jax_has(monkeypatch, 2)
    assert machine._gpu.__wrapped__() == {}
    assert len(asked) == 1
