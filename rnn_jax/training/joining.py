"""Several processes that train one model together: how they join, and how all of them end."""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import jax

from rnn_jax.host.checks import positive
from rnn_jax.host.meeting import Address, meet
from rnn_jax.host.peers import Peers
from rnn_jax.jaxprs import cluster
from rnn_jax.training.processes import Processes

__all__ = ["ABANDONED", "JOIN_WAIT", "joined"]

JOIN_WAIT = 50.0  # seconds; who is killed before joining costs the others so many
ABANDONED = 75  # the exit code of a process that others have left: "try again", in sysexits.h
_OF_OTHERS = re.compile("Gloo|NCCL|onnection|coordination|UNAVAILABLE")
_LOCAL = re.compile(r"localhost|127\..*|::1")


@contextmanager
def joined(
    coordinator: str = "auto",
    num_processes: int | None = None,
    process_id: int | None = None,
    *,
    same: Mapping[str, Any] | None = None,
    wait: float = JOIN_WAIT,
) -> Iterator[int]:
    """Join other processes, so that `jax.devices` and `fit` have the devices of all of them.

    To be entered before anything is computed with JAX. Within the block, should a process be
    killed, hang or fail, all others end with a sentence and exit code 75: within a second if it was
    killed or failed, within 15 seconds if its machine is gone, within a minute if it hangs. At the
    end of the block each waits for all others.

    Args:
      coordinator: ``"host:port"`` of process 0, with a port that is free there; it and the others
        must reach each other at any port. ``"auto"`` for what SLURM, Open MPI, Kubernetes or a
        Cloud TPU slice say, as `jax.distributed.initialize` reads them.
      num_processes, process_id: how many there are, and the number of this one, from 0; None with
        ``"auto"``.
      same: what must not differ from process to process, by names.
      wait: seconds within which all must have come, more on a cluster that starts them slowly.

    Yields:
      The number of this process.

    Raises:
      ValueError: one of them does not come, vanishes before all have, or differs from process 0;
        there is no cluster to be found; JAX is in use already.

    Example:
      >>> import jax, rnn_jax  # doctest: +SKIP
      >>> with rnn_jax.training.joined("10.0.0.1:1234", 2, 0):  # doctest: +SKIP
      ...     mesh = jax.sharding.Mesh(jax.devices(), ("data",))
      ...     rnn_jax.fit(model, optimizer, data, epochs=1, key=key, mesh=mesh)
    """
    where, count, number, local = _placed(coordinator, num_processes, process_id, wait)
    versions = {"the version of JAX": jax.__version__}
    peers = meet(where, number, count, same={**(same or {}), **versions}, wait=wait)
    peers.watch(_abandon)
    try:
        _initialize(where[0], peers, local, wait)
        yield number
        peers.finish()
        jax.distributed.shutdown()  # type: ignore[no-untyped-call]
        peers.close()
    except BaseException as error:
        # It may be that a sum failed because another process is gone: then that is to be said.
        because_of_others = isinstance(error, jax.errors.JaxRuntimeError | ValueError) and (
            _OF_OTHERS.search(str(error)) is not None
        )
        peers.fail(_said(error), 5.0 if because_of_others else 0.5)
        # JAX would wait for those that are gone when the interpreter ends, and abort.
        atexit.register(_leave, _code_of(error))
        raise


def _placed(
    coordinator: str, count: int | None, number: int | None, wait: float
) -> tuple[Address, int, int, list[int] | None]:
    """Where process 0 is, how many there are, which one this is, and its devices."""
    if coordinator == "auto":
        if count is not None or number is not None:
            raise ValueError(
                "--coordinator auto finds out the number of processes by itself: leave out "
                "--num-processes and --process-id, or give HOST:PORT"
            )
        found = cluster(wait)
        if found is None:
            raise ValueError(
                "--coordinator auto finds no cluster (SLURM, Open MPI, Kubernetes, Cloud TPU) "
                "around this process: say HOST:PORT, --num-processes and --process-id"
            )
        return _address(found[0]), *found[1:]
    if count is None or number is None:
        raise ValueError(
            f"--coordinator {coordinator} needs --num-processes and --process-id beside it"
        )
    positive(num_processes=count)
    if not 0 <= number < count:
        raise ValueError(
            f"--process-id {number} is not one of {count} processes, which count from 0: choose "
            f"one of 0 … {count - 1}"
        )
    return _address(coordinator), count, number, None


def _address(text: str) -> Address:
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not (port.isascii() and port.isdigit()) or not 0 < int(port) < 1 << 16:
        raise ValueError(f"--coordinator must be HOST:PORT, such as 10.0.0.1:1234, not {text}")
    return host, int(port)


def _initialize(host: str, peers: Peers, local: list[int] | None, wait: float) -> None:
    address = f"[{host}]" if ":" in host else host
    if peers.count == 1:
        return
    place = f"{address}:{peers.told['port']}"
    with contextlib.suppress(AttributeError):  # it would take SIGTERM, and do nothing with it
        jax.config.update("jax_enable_preemption_service", False)  # type: ignore[no-untyped-call]
    try:
        jax.distributed.initialize(
            place,
            peers.count,
            peers.number,
            local_device_ids=local,
            cluster_detection_method="deactivate",
            initialization_timeout=max(1, int(wait)),
            shutdown_timeout_seconds=30,
            # Listens everywhere by default, also where all processes are on this machine.
            coordinator_bind_address=place if _LOCAL.fullmatch(host) else None,
        )
    except RuntimeError as error:
        raise ValueError(
            f"JAX cannot join the processes ({str(error).splitlines()[0]}): join them before "
            "anything is computed, and once"
        ) from None
    # On CPUs all must reach the first collective within 30 seconds, whatever is read meanwhile.
    Processes(peers.count, peers.number).led(0.0)


def _code_of(error: BaseException) -> int:
    if isinstance(error, SystemExit) and isinstance(error.code, int):
        return error.code
    return 130 if isinstance(error, KeyboardInterrupt) else 2


def _said(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "it was interrupted"
    first = " ".join(str(error).split())
    return first[:500] if isinstance(error, ValueError) else f"{type(error).__name__} {first[:400]}"


def _abandon(sentence: str) -> None:
    """End at once: the main thread may wait for what never comes, and JAX is about to abort."""
    line = (
        f"rnn-jax: {sentence}, so this one ends, too; to go on from the latest checkpoint, start "
        "all of them again and resume\n"
    )
    with contextlib.suppress(OSError):
        os.write(2, line.encode())
    _leave(ABANDONED)


def _leave(code: int) -> None:
    # In a thread: another one may hold the stream, and wait for somebody who reads it.
    flushing = threading.Thread(target=_flush, daemon=True)
    flushing.start()
    flushing.join(0.5)
    os._exit(code)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
