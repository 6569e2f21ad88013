"""The machine's facts and its energy, of folders such as Linux has."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import VARIABLES
from benchmarks.measuring import energy, runner
from benchmarks.measuring.case import Case
from benchmarks.measuring.energy import Counter, NoCounter, counter, rapl
from benchmarks.measuring.implementation import Prepared
from benchmarks.measuring.system import chosen_by_hand, described, limits, system
from benchmarks.reporting.machine import machine
from benchmarks.reporting.summary import noted
from tests.benchmarks.clock import Clock

CPUINFO = """\
processor\t: {0}
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 143
model name\t: A processor
stepping\t: 8
microcode\t: 0x2b
cpu MHz\t\t: 2100.5
physical id\t: {1}
siblings\t: 4
cpu cores\t: 2
flags\t\t: fpu avx2 fma avx512f
"""


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n", encoding="utf-8")
    return folder


def test_everything_that_the_system_tells_is_stated(tmp_path: Path) -> None:
    cpu = "sys/devices/system/cpu/cpu0"
    found = system(
        write(
            tmp_path,
            {
                "proc/cpuinfo": "\n".join(CPUINFO.format(i, i // 4) for i in range(8)),
                "proc/meminfo": "MemTotal:       16384 kB\nMemFree: 1 kB",
                f"{cpu}/cpufreq/scaling_governor": "performance",
                f"{cpu}/cpufreq/cpuinfo_max_freq": "3800000",
                f"{cpu}/cache/index0/level": "1",
                f"{cpu}/cache/index0/type": "Data",
                f"{cpu}/cache/index0/size": "48K",
                f"{cpu}/cache/index0/shared_cpu_list": "0-1",
                "etc/os-release": 'NAME=x\nPRETTY_NAME="A Linux 1"',
            },
        )
    )
    assert (found["family"], found["model"], found["stepping"]) == ("6", "143", "8")
    assert (found["mhz"], found["mhz_most"], found["governor"]) == (2100.5, 3800, "performance")
    assert found["flags"] == ["avx2", "fma", "avx512f"]
    assert (found["sockets"], found["threads_a_core"]) == (2, 2)
    assert found["caches"] == ["L1 Data 48K for cores 0-1"]
    assert found["memory_bytes"] == 16 * 2**20 and found["limits"] == {}
    assert found["os"] == "A Linux 1" and found["blas"]
    said = "; ".join(described(found))
    for part in ("stepping 8; clock 3800.0 MHz at most; governor performance; avx2", "0.0 GiB",
                 "caches: L1 Data 48K"):  # fmt: skip
        assert part in said


def test_variables_of_threads_and_kernels_are_stated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", dict(VARIABLES))
    assert chosen_by_hand() == ""
    os.environ |= {"OPENBLAS_CORETYPE": "Haswell", "MKL_NUM_THREADS": "1"}
    assert chosen_by_hand() == "MKL_NUM_THREADS=1, OPENBLAS_CORETYPE=Haswell"
    said = "; ".join(described(system(tmp_path)))
    assert "kernels: MKL_NUM_THREADS 1, OPENBLAS_CORETYPE Haswell, OPENBLAS_THREAD" in said
    os.environ["OPENBLAS_THREAD_TIMEOUT"] = "30"
    assert "OPENBLAS_THREAD_TIMEOUT=30" in chosen_by_hand()


def test_what_the_system_does_not_tell_is_said_to_be_unknown(tmp_path: Path) -> None:
    found = system(tmp_path)
    assert found["family"] is None and found["caches"] == [] and found["limits"] == {}
    said = "; ".join(described(found))
    for part in ("clock not known", "governor not known", "memory not known", "caches: not known"):
        assert part in said


@pytest.mark.parametrize(
    "files, expected",
    [
        ({"sys/fs/cgroup/cpu.max": "150000 100000", "sys/fs/cgroup/memory.max": "1048576"},
         {"cpus": 1.5, "memory_bytes": 2**20}),
        ({"sys/fs/cgroup/cpu.max": "max 100000", "sys/fs/cgroup/memory.max": "max"}, {}),
        # The narrowest of a group and those above it.
        ({"proc/self/cgroup": "0::/a/b", "sys/fs/cgroup/a/b/cpu.max": "400000 100000",
          "sys/fs/cgroup/a/cpu.max": "200000 100000"}, {"cpus": 2.0}),
        ({"proc/self/cgroup": "4:memory:/job\n1:cpu:/",
          "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "50000",
          "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
          "sys/fs/cgroup/memory/job/memory.limit_in_bytes": "4096",
          "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712"},
         {"cpus": 0.5, "memory_bytes": 4096}),
        ({"proc/self/cgroup": "1:cpu:/", "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
          "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"}, {}),
    ],
)  # fmt: skip
def test_a_containers_limits_are_read(
    tmp_path: Path, files: dict[str, str], expected: dict[str, float]
) -> None:
    assert limits(write(tmp_path, files)) == expected


def zone(microjoules: int) -> dict[str, str]:
    return {
        "intel-rapl:0/name": "package-0",
        "intel-rapl:0/energy_uj": str(microjoules),
        "intel-rapl:0/max_energy_range_uj": "9000000",
        "intel-rapl:0:0/name": "core",
        "intel-rapl:0:0/energy_uj": "77",
        "intel-rapl:1/name": "psys",
        "intel-rapl:1/energy_uj": "77",
    }


def test_energy_is_that_of_the_packages_and_goes_round(tmp_path: Path) -> None:
    counted = rapl(write(tmp_path, zone(2_000_000)))
    write(tmp_path, zone(5_000_000))
    assert counted.read() == 3.0
    write(tmp_path, zone(1_000_000))
    assert counted.read() == 8.0  # from 5 J to 9 J, and 1 J past it


def test_energy_that_nothing_counts_has_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NoCounter, match="no RAPL"):
        rapl(tmp_path)
    with pytest.raises(NoCounter, match="energy of tpu devices"):
        counter.__wrapped__("tpu")
    write(tmp_path, zone(1))

    def refuse(self: Path, *arguments: Any) -> str:
        raise PermissionError(13, "Permission denied")

    reader = Path.read_text
    monkeypatch.setattr(
        Path, "read_text", lambda self, *a: (refuse if "energy" in self.name else reader)(self, *a)
    )
    with pytest.raises(NoCounter, match=r"cannot be read \(permission denied\): root may"):
        rapl(tmp_path)


def measured(monkeypatch: pytest.MonkeyPatch, counted: Counter | NoCounter) -> Any:
    def given(platform: str) -> Counter:
        if isinstance(counted, NoCounter):
            raise counted
        return counted

    monkeypatch.setattr(energy, "counter", given)
    case = Case(
        "group", "pass", {"workload": "w", "dtype": "float32", "precision": "highest"},
        ("rnn_jax",), lambda: lambda name: Prepared(lambda: None, dict, steps=4),
        per_second=("tokens", 8.0),
    )  # fmt: skip
    (row,) = runner.measure(case, lambda row: None, limits=runner.Limits(rounds=1, case_s=9))
    return row


def test_a_row_has_its_joules_or_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    meter = iter([0.0, 0.0, 16.0])
    monkeypatch.setattr(energy, "_EACH_S", 0.0)
    row = measured(monkeypatch, Counter([(lambda: next(meter), 100.0)]))
    assert (row["joules_per_step"], row["tokens_per_joule"]) == (4.0, 2.0)
    assert row["energy_reason"] is None
    row = measured(monkeypatch, NoCounter("no RAPL"))
    assert (row["joules_per_step"], row["energy_reason"]) == (None, "no RAPL")
    said = machine(noted([row]), None)
    assert "- energy: no RAPL" in said
    assert "these groups, whole" not in said  # of no group of the suite
    row["group"] = "devices"
    assert "on 1, 2, 4 and 8 devices: `python -m benchmarks devices --dtype float32" in machine(
        noted([row]), None
    )
    old = {key: value for key, value in row.items() if key not in ("system", "energy_reason")}
    both = machine(noted([row, old]), None)  # type: ignore[list-item]
    assert "- 1 of 2 rows: family " in both and "- 1 of 2 rows: family, model" in both
    said = machine(noted([old]), None)  # type: ignore[list-item]
    assert "limits, threads and BLAS are not known" in said and "not asked for" in said


def test_nvml_without_its_package_is_a_reason() -> None:
    try:
        import pynvml  # type: ignore[import-not-found, import-untyped, unused-ignore] # noqa: F401
    except ImportError:
        with pytest.raises(NoCounter, match="nvidia-ml-py is not installed"):
            energy.counter.__wrapped__("gpu")


def counting(
    monkeypatch: pytest.MonkeyPatch, limits: runner.Limits, **seconds: float
) -> tuple[list[Any], Clock]:
    """Rows of implementations whose calls take so long by a clock that nothing else moves."""
    clock, joule = Clock(), [0.0]

    def read() -> float:
        joule[0] += 6.0
        return joule[0]

    def turns(case: Any, rows: Any, ready: Any, *rest: Any) -> None:
        clock.now += 2.0
        for name, took in seconds.items():
            rows[name]["median_ms"] = 1e3 * took

    monkeypatch.setattr(energy, "counter", lambda platform: Counter([(read, 1e9)]))
    monkeypatch.setattr(runner, "time_in_turns", turns)
    facts = {"workload": "w", "dtype": "float32", "precision": "highest"}
    calls = {name: Prepared(clock.lasting(name, took), dict) for name, took in seconds.items()}
    case = Case("group", "pass", facts, tuple(seconds), lambda: calls.__getitem__)
    return runner.measure(case, lambda row: None, limits=limits, clock=clock), clock


def test_energy_takes_no_more_than_is_left_of_the_case_and_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limits = runner.Limits(case_s=9.0)
    rows, clock = counting(monkeypatch, limits, rnn_jax=0.25, peer=0.5)
    assert (clock.order.count("rnn_jax"), clock.order.count("peer")) == (4, 2)  # a second each
    assert [row["joules_per_step"] for row in rows] == [1.5, 3.0]
    for bounded in (replace(limits, case_s=3.0), replace(limits, left_s=3.0)):
        rows, clock = counting(monkeypatch, bounded, rnn_jax=0.25, peer=0.5)
        assert (clock.order.count("rnn_jax"), clock.order.count("peer")) == (2, 1)
        rows, clock = counting(monkeypatch, bounded, rnn_jax=4.0, peer=0.5)  # one call is too long
        assert clock.order == ["peer"] * 2
        assert rows[0]["energy_reason"] == "no time was left to count it"
    for spent in (replace(limits, case_s=2.0), replace(limits, left_s=2.0)):
        rows, clock = counting(monkeypatch, spent, rnn_jax=0.25)
        assert clock.order == [] and rows[0]["energy_reason"] == "no time was left to count it"
    rows, clock = counting(monkeypatch, replace(limits, energy=False), rnn_jax=0.25)
    assert clock.order == [] and rows[0]["energy_reason"] is None
