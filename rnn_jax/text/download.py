"""Downloading a file, checked before it appears."""

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
        target: where it is to be; its folder is made if need be.
        size: its length in bytes; by default what the server announces.

    Raises:
        ValueError: the server does not answer or has no such file, the file is cut off or has
            another hash, or the folder cannot be written to.
    """
    mend = f"put the file into the folder $RNN_JAX_DATA as {target.name}"
    try:
        with atomic_path(target) as temporary:
            try:
                with temporary.open("wb") as out:
                    received, digest = _stream(url, out, size)
            except urllib.error.HTTPError as error:
                error.close()  # it is the response as well, and holds its socket
                raise ValueError(
                    f"{url} cannot be downloaded: the server answers {error.code} {error.reason}; "
                    f"{mend}"
                ) from error
            except (urllib.error.URLError, http.client.HTTPException, TimeoutError) as error:
                cause = getattr(error, "reason", error)
                raise ValueError(f"{url} cannot be downloaded ({cause}); {mend}") from error
            except ConnectionError as error:
                raise ValueError(f"{url} cannot be downloaded ({reason(error)}); {mend}") from error
            if size is not None and received != size:
                raise ValueError(
                    f"the download of {url} is not the file expected: {received} bytes came "
                    f"where {size} were due; try again, or {mend}"
                )
            if digest != sha256:
                raise ValueError(
                    f"the download of {url} is not the file expected: its sha256 is {digest}, "
                    f"not {sha256}; {mend}"
                )
    except OSError as error:
        raise ValueError(
            f"{url} cannot be saved in {target.parent} ({reason(error)}); set RNN_JAX_CACHE to a "
            f"folder that can be written to, or {mend}"
        ) from error


def _stream(url: str, out: IO[bytes], size: int | None) -> tuple[int, str]:
    digest, received = hashlib.sha256(), 0
    with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as response:
        announced = response.headers.get("Content-Length")
        due = int(announced) if announced and announced.isdigit() else size
        with _progress(url, due) as report:
            while piece := response.read(_PIECE):
                out.write(piece)
                digest.update(piece)
                received += len(piece)
                report(received)
                if size is not None and received > size:
                    break  # something else; it might have no end
    if due is not None and received < min(due, size or due):
        raise http.client.HTTPException(f"cut off after {received} of {due} bytes")
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
