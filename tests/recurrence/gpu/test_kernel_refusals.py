"""What a kernel does not take it refuses, naming what runs instead."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest

import rnn_jax as r
from rnn_jax.jaxprs import Device
from rnn_jax.recurrence import Kernel
from rnn_jax.recurrence.gpu import loops
from rnn_jax.recurrence.gpu.tiles import Sizes, Tile, tile_of

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "gpu-kernel.md"
INTERPRETED = Kernel(interpret=True)
XS = jnp.ones((4, 2, 3))


def run(cell: Any, backend: Any = INTERPRETED, xs: Any = XS, dtype: Any = jnp.float32) -> Any:
    params = cell.init(jax.random.key(0), 3)
    params = jax.tree.map(lambda p: p.astype(dtype), params)
    return r.unroll(cell, params, None, xs.astype(dtype), backend=backend)


@dataclass(frozen=True)
class Factorial(r.PointwiseCell):
    """With an operation that no kernel has."""

    def pointwise(self, theta: Any, carry: Any, z: Any, r: Any) -> Any:
        h = jnp.tanh(jax.lax.lgamma(1 + jnp.abs(z[0] + r[0])))
        return h, h


TABLE = jnp.arange(3.0)


@dataclass(frozen=True)
class Closing(r.PointwiseCell):
    """That reads an array from outside."""

    def pointwise(self, theta: Any, carry: Any, z: Any, r: Any) -> Any:
        h = jnp.tanh(z[0] + r[0]) * TABLE.sum()
        return h, h


@dataclass(frozen=True)
class Counting(r.PointwiseCell):
    """With a carry that has no gradient."""

    def zero_carry(self, batch_shape: Any, dtype: Any) -> Any:
        h = jnp.zeros((*batch_shape, self.hidden_size), dtype)
        return {"h": h, "n": jnp.zeros(h.shape, jnp.int32)}

    def fed(self, carry: Any) -> Any:
        return carry["h"]

    def pointwise(self, theta: Any, carry: Any, z: Any, r: Any) -> Any:
        h = jnp.tanh(z[0] + r[0])
        return {"h": h, "n": carry["n"] + 1}, h


@pytest.mark.parametrize(
    ("cell", "dtype", "message"),
    [
        (r.gru(3, reset="before"), jnp.float32, "pointwise form, and GRUBefore is not one"),
        (r.lstm(4, proj_size=3), jnp.float32, "pointwise form, and ProjectedLSTM is not one"),
        (r.min_gru(3), jnp.float32, "pointwise form, and MinGRU is not one"),
        (r.elman(3), jnp.float16, "float32 or bfloat16, and the recurrent matrix has dtype float1"),
        (r.lstm(512), jnp.float32, "takes 4194304 bytes, more than the 524288"),
        (Factorial(3), jnp.float32, "a kernel has no lgamma"),
        (Closing(3), jnp.float32, "closes over arrays"),
        (Counting(3), jnp.float32, "which Counting here is not"),
    ],
    ids=["before", "projected", "min-gru", "float16", "large", "lgamma", "closing", "counting"],
)
def test_by_cell_dtype_and_size(cell: Any, dtype: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message + ".*backend='auto'"):
        run(cell, dtype=dtype)


@pytest.mark.usefixtures("x64")
def test_float64() -> None:
    with pytest.raises(ValueError, match=r"dtype float64: pass backend='auto'"):
        run(r.elman(3), dtype=jnp.float64)


def test_without_a_gpu() -> None:
    with pytest.raises(ValueError, match=r"NVIDIA's GPUs only.*backend='auto'"):
        run(r.elman(3), "pallas")
    cell = r.elman(3)
    params = cell.init(jax.random.key(0), 3)

    def loss(params: Any) -> Any:
        return r.unroll(cell, params, None, XS, backend="pallas")[1].sum()

    gradient = jax.jit(jax.grad(loss)).trace(params)
    assert gradient.lower(lowering_platforms=("cuda",))
    with pytest.raises(ValueError, match=r"NVIDIA's GPUs only.*backend='auto'"):
        gradient.lower()
    with pytest.raises(ValueError, match=r"NVIDIA's GPUs only.*backend='auto'"):
        jax.vmap(loss)(jax.tree.map(lambda p: p[None], params))
    with pytest.raises(ValueError, match=r"NVIDIA's GPUs only.*backend='auto'"):
        jax.hessian(loss)(params)


def test_without_jit_without_steps_and_for_any_length() -> None:
    with jax.disable_jit(), pytest.raises(ValueError, match=r"needs jit.*backend='auto'"):
        run(r.elman(3))
    assert run(r.elman(3), xs=XS[:0])[1].shape == (0, 2, 3)
    T = jax.export.symbolic_shape("T")[0]
    xs = jax.ShapeDtypeStruct((T, 2, 3), jnp.float32)
    with pytest.raises(ValueError, match=r"one T and one B.*backend='auto'"):
        jax.export.export(jax.jit(lambda xs: run(r.elman(3), xs=xs)))(xs)


def test_unknown_backends_and_settings() -> None:
    with pytest.raises(ValueError, match=r"'pallas'\) or a Kernel, not 'cuda'"):
        run(r.elman(3), "cuda")
    with pytest.raises(ValueError, match="rows must be an integer of at least 1, not 0"):
        Kernel(rows=0)
    wrong: Any = "yes"
    with pytest.raises(
        ValueError, match=r"resident must be one of \(None, False, True\), not 'yes'"
    ):
        Kernel(resident=wrong)


HOPPER, BLACKWELL = Device((9, 0), 132), Device((10, 0), 148)


def sizes(units: int, gates: int, itemsize: int = 4, rows: int = 1) -> Sizes:
    return Sizes(rows, units, gates, 2, 0, itemsize)


@pytest.mark.parametrize(
    ("given", "device", "tile"),
    [
        # 40 KB of float32, padded to 128 columns 51 KB.
        (sizes(100, 1), HOPPER, Tile(1, True)),
        (sizes(100, 1), BLACKWELL, Tile(1, True)),
        # 128 KB of bfloat16.
        (sizes(128, 4, 2), HOPPER, Tile(1, True)),
        # 196 KB, and 256 KB, which is more than a block has.
        (sizes(128, 3), HOPPER, Tile(1, True)),
        (sizes(128, 4), HOPPER, Tile(1, False)),
        # One block for every processor while rows are few.
        (sizes(100, 1, rows=132), HOPPER, Tile(1, True)),
        (sizes(100, 1, rows=133), HOPPER, Tile(2, True)),
        (sizes(100, 1, rows=10_000), BLACKWELL, Tile(8, True)),
        (sizes(100, 4, rows=10_000), HOPPER, Tile(8, True)),
        (sizes(110, 4, rows=10_000), HOPPER, Tile(8, False)),
    ],
)
def test_what_fits(given: Sizes, device: Device, tile: Tile) -> None:
    assert tile_of(Kernel(), given, device) == tile


@pytest.mark.parametrize(
    ("kernel", "given", "device", "message"),
    [
        (Kernel(), sizes(256, 4), HOPPER, "takes 1048576 bytes, more than the 524288"),
        (Kernel(resident=True), sizes(128, 4), HOPPER, "shared memory, and a block has 232448"),
        (Kernel(rows=16), sizes(100, 4), HOPPER, r"registers a thread .*Kernel\(rows=1\)"),
        (Kernel(), sizes(100, 64), HOPPER, r"registers a thread .* 245 of 255"),
        (Kernel(), sizes(100, 1), Device((8, 0), 108), "capability 9 and 10, not 8.0"),
        (Kernel(), sizes(100, 1), Device((12, 0), 170), "capability 9 and 10, not 12.0"),
        (Kernel(), sizes(100, 1), Device((0, 0), 1), "capability 9 and 10, not 0.0"),
    ],
)
def test_what_does_not_fit(kernel: Kernel, given: Sizes, device: Device, message: str) -> None:
    with pytest.raises(ValueError, match=message + ".*backend='auto'"):
        tile_of(kernel, given, device)


def test_as_many_registers_stay_free_as_the_estimate_is_off_by() -> None:
    full, over = Sizes(10_000, 100, 7, 1, 0, 2), Sizes(10_000, 100, 8, 1, 2, 2)
    assert (full.registers(7), over.registers(5)) == (245, 246)
    assert tile_of(Kernel(), full, HOPPER).rows == 7
    assert tile_of(Kernel(), over, HOPPER).rows == 4


# (gates, leaves of the carry, sums), as the page names the cells.
ON_THE_PAGE = {"elman": (1, 1, True), 'gru(reset="after")': (3, 1, False), "lstm": (4, 2, True)}


@pytest.mark.parametrize("name", ON_THE_PAGE)
def test_the_largest_sizes_on_the_page(name: str) -> None:
    gates, leaves, sums = ON_THE_PAGE[name]

    def largest(itemsize: int, resident: bool | None) -> int:
        def fits(units: int) -> bool:
            try:
                tile_of(
                    Kernel(resident=resident),
                    Sizes(1, units, gates, leaves, 0, itemsize, sums),
                    None,
                )
            except ValueError:
                return False
            return True

        return max(filter(fits, range(1, 1025)))

    cells = (
        ", ".join(str(largest(itemsize, kept)) for kept in (True, None)) for itemsize in (4, 2)
    )
    assert f"| `{name}` | {' | '.join(cells)} |" in PAGE.read_text(encoding="utf-8")


def test_the_device_of_this_process_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "device", lambda: Device((8, 6), 46))
    with pytest.raises(ValueError, match=r"not 8\.6"):
        run(r.elman(3), "pallas")
