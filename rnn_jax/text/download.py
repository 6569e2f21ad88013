"""Downloads that are checked before the file appears."""

from __future__ import annotations

import hashlib
import http.client
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from rnn_jax.host.files import atomic_path, reason

_TIMEOUT_SECONDS = 30.0
_PIECE = 1 << 16


def fetch(url: str, sha256: str, target: Path, *, size: int | None = None) -> None:
    """Download a file; it appears at ``target`` complete and with the right hash, or not at all.

    Args:
        url: where the file is.
        sha256: the hash it must have, in hexadecimal.
        target: where to put it; its folder is created if it is missing.
        size: its length in bytes; by default what the server announces.

    Raises:
        ValueError: the server does not answer or has no such file, the file is cut off or has the
            wrong hash, or the folder cannot be written to.
    """
    remedy = f"put the file into the folder $RNN_JAX_DATA as {target.name}"
    try:
        with atomic_path(target) as temporary:
            try:
                with temporary.open("wb") as out:
                    received, digest = _stream(url, out, size)
            except urllib.error.HTTPError as error:
                error.close()  # it is also the response, and holds its socket
                raise ValueError(
                    f"{url} cannot be downloaded: the server answers {error.code} {error.reason}; "
                    f"{remedy}"
                ) from error
            except (urllib.error.URLError, http.client.HTTPException, TimeoutError) as error:
                cause = getattr(error, "reason", error)
                raise ValueError(f"{url} cannot be downloaded ({cause}); {remedy}") from error
            except ConnectionError as error:
                raise ValueError(
                    f"{url} cannot be downloaded ({reason(error)}); {remedy}"
                ) from error
            if size is not None and received != size:
                raise ValueError(
                    f"the download of {url} is not the expected file: received {received} "
                    f"bytes instead of {size}; try again, or {remedy}"
                )
            if digest != sha256:
                raise ValueError(
                    f"the download of {url} is not the expected file: its sha256 is {digest}, "
                    f"not {sha256}; {remedy}"
                )
    except OSError as error:
        raise ValueError(
            f"{url} cannot be saved in {target.parent} ({reason(error)}); set RNN_JAX_CACHE to a "
            f"writable folder, or {remedy}"
        ) from error


def _stream(url: str, out: IO[bytes], size: int | None) -> tuple[int, str]:
    digest, received = hashlib.sha256(), 0
    with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as response:
        announced = response.headers.get("Content-Length")
        expected = int(announced) if announced and announced.isdigit() else size
        with _progress(url, expected) as report:
            while piece := response.read(_PIECE):
                out.write(piece)
                digest.update(piece)
                received += len(piece)
                report(received)
                if size is not None and received > size:
                    break  # it is another file, perhaps an endless one
    if expected is not None and received < min(expected, size or expected):
        raise http.client.HTTPException(f"cut off after {received} of {expected} bytes")
    return received, digest.hexdigest()


@contextmanager
def _progress(url: str, total: int | None) -> Iterator[Callable[[int], None]]:
    if not sys.stderr.isatty():
        yield lambda received: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(url.rsplit("/", 1)[-1], total=total)
        yield lambda received: bar.update(task, completed=received)
