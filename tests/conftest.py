"""Settings of every test: no silent rank promotion, and no file outside a temporary folder."""

from __future__ import annotations

import itertools
import os
import signal
import tempfile
import zlib
from collections.abc import Iterator

import pytest
from hypothesis import settings

# Before JAX and matplotlib are imported. The platform can be overridden, to test on an accelerator.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["MPLBACKEND"] = "Agg"

import jax

jax.config.update("jax_numpy_rank_promotion", "raise")

# Compiling is half of what the tests do, and much is compiled again: by the other worker, after the
# caches were cleared, in a command's own process. They share one folder of programs, made by the
# process that starts them, for as long as the tests last.
_programs = None
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _programs = tempfile.TemporaryDirectory(prefix="rnn_jax-programs-")
    for _name, _value in (
        ("jax_compilation_cache_dir", _programs.name),
        ("jax_persistent_cache_min_compile_time_secs", 0),
        ("jax_persistent_cache_min_entry_size_bytes", -1),
    ):
        jax.config.update(_name, _value)
        os.environ[_name.upper()] = str(_value)  # for workers and commands

# No deadline: a first call compiles. In CI the same examples come each time.
settings.register_profile("local", max_examples=25, deadline=None)
settings.register_profile("repeatable", settings.get_profile("local"), derandomize=True)
settings.load_profile("repeatable" if os.environ.get("CI") else "local")

_cache = tempfile.TemporaryDirectory(prefix="rnn_jax-tests-")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--one-in",
        type=int,
        default=1,
        metavar="N",
        help="every test function, but one in N of the cases of each",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the first case of each function, and those that a hash of their names picks."""
    share: int = max(1, config.getoption("--one-in"))
    seen: set[str] = set()
    kept: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        function = item.nodeid.partition("[")[0]
        picked = function not in seen or zlib.crc32(item.nodeid.encode()) % share == 0
        (kept if picked else left_out).append(item)
        seen.add(function)
    config.hook.pytest_deselected(items=left_out)
    items[:] = kept


# In hooks rather than a fixture, so that the doctests of rnn_jax are under it too.
def pytest_configure() -> None:
    # Behind nohup, or in the background, signals are ignored, which commands would inherit.
    for name, handler in (
        ("SIGINT", signal.default_int_handler),
        ("SIGTERM", signal.SIG_DFL),
        ("SIGHUP", signal.SIG_DFL),
    ):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)
    os.environ["RNN_JAX_CACHE"] = _cache.name


def pytest_unconfigure() -> None:
    _cache.cleanup()
    if _programs is not None:
        _programs.cleanup()


_tests = itertools.count(1)


def pytest_runtest_teardown() -> None:
    """Forget what is compiled now and then: each program keeps memory maps, of which Linux allows
    a process 65,530, and compiling ends the process where there is none left. Kept for longer,
    programs and traces would also take gigabytes; what is needed again comes from the folder.
    """
    if next(_tests) % 100 == 0:
        jax.clear_caches()


@pytest.fixture
def x64() -> Iterator[None]:
    """Float64 throughout the test; under `@given`, use `with jax.enable_x64(True):` instead."""
    with jax.enable_x64(True):
        yield
