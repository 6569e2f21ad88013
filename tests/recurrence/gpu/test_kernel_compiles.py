"""Kernels become machine code of a Hopper, without a GPU, and none of their registers spill.

It takes what `jax[cuda12]` installs: XLA's compiler for CUDA, and NVIDIA's assembler behind it.

    RNN_JAX_CUDA_PLUGIN=…/jax_plugins/xla_cuda12/xla_cuda_plugin.so \\
    MOSAIC_GPU_RUNTIME_LIB_PATH=…/jax_cuda12_plugin/libmosaic_gpu_runtime.so \\
    MOSAIC_GPU_CUDA_ROOT=…/nvidia/cuda_nvcc pytest tests/recurrence/gpu/test_kernel_compiles.py

The last is a folder with ``bin/ptxas`` and ``nvvm/libdevice``.
"""

from __future__ import annotations

import os
import re
from importlib import import_module
from typing import Any

import jax
import jax.numpy as jnp
import pytest

import rnn_jax as r
from rnn_jax.recurrence import Kernel
from rnn_jax.recurrence.gpu.tiles import Sizes

PLUGIN = os.environ.get("RNN_JAX_CUDA_PLUGIN")
pytestmark = pytest.mark.skipif(PLUGIN is None, reason="no compiler for CUDA: see the docstring")

# As XLA describes an H100.
H100 = """
gpu_device_info {
  cuda_compute_capability { major: 9 }
  threads_per_block_limit: 1024 threads_per_warp: 32 threads_per_core_limit: 2048
  shared_memory_per_block: 49152 shared_memory_per_core: 233472
  shared_memory_per_block_optin: 232448 registers_per_core_limit: 65536
  registers_per_block_limit: 65536 core_count: 132 fpus_per_core: 128
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000 l2_cache_size: 52428800 clock_rate_ghz: 1.98
  device_memory_size: 84942979072
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 10 }
runtime_version { major: 12 minor: 9 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""


@pytest.fixture(scope="module")
def device() -> Any:
    """A device to compile for, which is not there."""
    xla_client: Any = import_module("jax._src.lib").xla_client
    plugin = xla_client.load_pjrt_plugin_dynamically("cuda", PLUGIN)
    xla_client.initialize_pjrt_plugin("cuda")
    options = {"target_config": H100, "topology": "1x1x1"}
    topology = xla_client.make_c_api_device_topology(plugin, "h100", **options)
    return topology._make_compile_only_devices()[0]


# (cell, B, dtype, settings, sizes)
COMPILED = {
    "elman": (r.elman(100), 1, jnp.float32, Kernel(), Sizes(1, 100, 1, 1, 0, 4)),
    "elman-256": (r.elman(256), 32, jnp.float32, Kernel(rows=2), Sizes(32, 256, 1, 1, 0, 4)),
    "lstm-bfloat16": (r.lstm(128), 32, jnp.bfloat16, Kernel(), Sizes(32, 128, 4, 2, 0, 2)),
    "lstm-8": (r.lstm(100), 32, jnp.float32, Kernel(rows=8), Sizes(32, 100, 4, 2, 0, 4)),
    "gru-5": (r.gru(128), 32, jnp.float32, Kernel(rows=5), Sizes(32, 128, 3, 1, 0, 4, sums=False)),
    "peepholes-4": (
        r.lstm(60, peepholes=True), 32, jnp.float32, Kernel(rows=4), Sizes(32, 60, 4, 2, 3, 4),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", COMPILED)
def test_to_machine_code(
    name: str, device: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    cell, B, dtype, kernel, sizes = COMPILED[name]
    monkeypatch.setenv("MOSAIC_GPU_DUMP_PTXAS", "1")
    where = jax.sharding.SingleDeviceSharding(device)

    def shape(of: Any) -> Any:
        return jax.ShapeDtypeStruct(of.shape, dtype, sharding=where)

    def loss(params: Any, xs: Any) -> Any:
        return r.unroll(cell, params, None, xs, backend=kernel)[1].astype(jnp.float32).sum()

    params = jax.tree.map(shape, jax.eval_shape(lambda: cell.init(jax.random.key(0), 3)))
    traced = jax.jit(jax.grad(loss)).trace(params, shape(jnp.ones((35, B, 3))))
    traced.lower(lowering_platforms=("cuda",)).compile()
    told = "".join(capfd.readouterr())
    spilled = re.findall(r"(\d+) bytes spill stores", told)
    registers = [int(n) for n in re.findall(r"body_mosaic[\s\S]*?Used (\d+) registers", told)]
    assert spilled == ["0", "0"]
    assert len(registers) == 2
    # The model is a little below at the most.
    assert max(registers) <= sizes.registers(kernel.rows or 1) + 16
