"""Processes that find one another at one address, and of which all end when one of them vanishes.

Process 0 listens there; every other one keeps a connection to it. Over it goes that a process is
alive, once a second; that it failed; that it is done. Where one is killed, the operating system
closes its connection, whatever it was doing: the others know within milliseconds. One whose machine
is gone is noticed by that system's probes, one that hangs by its silence.
"""

from __future__ import annotations

import contextlib
import errno
import json
import selectors
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from rnn_jax.host.links import Link, Strange

__all__ = ["SILENCE", "Address", "Peers", "meet"]

SILENCE = 50.0  # seconds without a word after which a process counts as vanished
_BEAT = 1.0

Address = tuple[str, int]


class Peers:
    """The connections of one process to others; made by `meet`.

    told: what process 0 told all others at the start.
    """

    def __init__(
        self, number: int, count: int, links: dict[int, Link], told: Mapping[str, Any]
    ) -> None:
        self.number, self.count, self.told = number, count, told
        self._links = links
        self._done: set[int] = set()
        self._changed = threading.Condition()
        self._all_done = self._leaving = self._over = False
        self._end: Callable[[str], None] = lambda sentence: None
        self._thread: threading.Thread | None = None

    def watch(self, end: Callable[[str], None]) -> None:
        """Call ``end(sentence)``, in another thread, when a process has vanished or failed."""
        self._end = end
        if self._links:
            self._thread = threading.Thread(target=self._watch, name="peers", daemon=True)
            self._thread.start()

    def finish(self) -> None:
        """Wait until all processes have come here; from then on none is missed."""
        if not self._links:
            return
        if self.number:
            self._tell({"done": True})
        with self._changed:
            while self.number and not self._all_done:
                self._changed.wait()
            while not self.number and len(self._done) < len(self._links):
                self._changed.wait()
            self._over = True
        if not self.number:
            self._tell({"done": True})

    def close(self) -> None:
        """Close the connections; for the others that is the end of this process."""
        self._over = True
        if self._thread is not None:
            self._thread.join()
        for link in self._links.values():
            link.close()

    def fail(self, why: str, patience: float) -> None:
        """Tell the others that this process stops.

        Waits for ``patience`` seconds first, in which `watch` may find that another one has
        vanished, and that is why.
        """
        self._leaving = True
        time.sleep(patience)
        sentence = f"process {self.number} of {self.count} has stopped: {why}"
        self._tell({"failed": sentence} if self.number else {"lost": sentence})

    def _watch(self) -> None:
        heard = dict.fromkeys(self._links, time.monotonic())
        spoken = 0.0
        with selectors.DefaultSelector() as selector:
            for number, link in self._links.items():
                selector.register(link, selectors.EVENT_READ, number)
            while not self._over:
                for key, _ in selector.select(_BEAT / 4):
                    number = key.data
                    heard[number] = time.monotonic()
                    try:
                        for message in self._links[number].received():
                            self._hear(number, message)
                    except (OSError, Strange):
                        selector.unregister(key.fileobj)
                        del heard[number]
                        self._vanished(number, "its connection is closed")
                now = time.monotonic()
                if now - spoken >= _BEAT:
                    spoken = now
                    self._tell({})
                for number in [n for n, then in heard.items() if now - then > SILENCE]:
                    del heard[number]
                    self._vanished(number, f"it has been silent for {SILENCE:.0f} s")

    def _hear(self, number: int, message: Mapping[str, Any]) -> None:
        if "done" in message:
            with self._changed:
                self._done.add(number)
                self._all_done = True
                self._over = self._over or bool(self.number)
                self._changed.notify_all()
        elif "failed" in message:
            self._tell({"lost": message["failed"]})
            self._lost(message["failed"])
        elif "lost" in message:
            self._lost(message["lost"], vanished=message.get("vanished", False))

    def _vanished(self, number: int, how: str) -> None:
        sentence = f"process {number} of {self.count} has vanished ({how})"
        if not self._over:
            if not self.number:
                self._tell({"lost": sentence, "vanished": True})
            self._lost(sentence, vanished=True)

    def _lost(self, sentence: str, *, vanished: bool = False) -> None:
        # A process that is about to say why it stops is not to be stopped by what follows from it.
        if vanished or not self._leaving:
            self._end(sentence)

    def _tell(self, message: Mapping[str, Any]) -> None:
        for link in self._links.values():
            with contextlib.suppress(OSError):
                link.send(message)


def meet(
    address: Address, number: int, count: int, *, same: Mapping[str, Any], wait: float
) -> Peers:
    """Find the other processes.

    Args:
      address: host and port at which process 0 is, and which is free there.
      number: of this process, from 0.
      count: how many there are.
      same: what must not differ between them, by names to be used in a sentence.
      wait: seconds until all must have come.

    Raises:
      ValueError: the address cannot be reached, or process 0 cannot listen there; a process does
        not come, vanishes meanwhile, has the number of another, or differs from process 0.
    """
    deadline = time.monotonic() + wait
    if count == 1:
        return Peers(0, 1, {}, {})
    same = json.loads(json.dumps(dict(same)))  # as it arrives
    if number == 0:
        return _gathered(address, count, dict(same), deadline, wait)
    link = _reached(address, deadline, wait)
    try:
        link.send({"number": number, "count": count, "same": dict(same)})
        told = _told(link, address, deadline + 10)  # process 0 is the one to say who does not come
    except BaseException:
        link.close()
        raise
    return Peers(number, count, {0: link}, told)


def _told(link: Link, address: Address, deadline: float) -> Mapping[str, Any]:
    """What process 0 tells when all have come."""
    place = _shown(address)
    strange = ValueError(f"what answers at {place} is no such training: choose another port")
    with selectors.DefaultSelector() as selector:
        selector.register(link, selectors.EVENT_READ)
        while time.monotonic() < deadline:
            for _ in selector.select(0.5):
                try:
                    messages = link.received()
                except Strange:
                    raise strange from None
                except OSError:
                    raise ValueError(
                        f"process 0, at {place}, has vanished before all processes had come: start "
                        "all of them again"
                    ) from None
                for message in messages:
                    if "lost" in message:
                        raise ValueError(message["lost"])
                    if "told" not in message:
                        raise strange
                    told: Mapping[str, Any] = message["told"]
                    return told
    raise strange


def _reached(address: Address, deadline: float, wait: float) -> Link:
    """A connection to process 0, which may not be there yet."""
    while True:
        try:
            return Link(socket.create_connection(address, timeout=5))
        except OSError as error:
            if time.monotonic() >= deadline:
                raise ValueError(
                    f"process 0 does not answer at {_shown(address)} within {wait:g} s "
                    f"({error.strerror or error}): is it started, and is this its address?"
                ) from None
        time.sleep(0.2)


def _gathered(
    address: Address, count: int, same: dict[str, Any], deadline: float, wait: float
) -> Peers:
    """Process 0's part: all others, once they have come."""
    links: dict[int, Link] = {}
    strangers: list[Link] = []

    def refuse(sentence: str) -> ValueError:
        for link in (*links.values(), *strangers):
            with contextlib.suppress(OSError):
                link.send({"lost": sentence})
            link.close()
        return ValueError(sentence)

    with _listening(address) as server, selectors.DefaultSelector() as selector:
        selector.register(server, selectors.EVENT_READ)
        while len(links) < count - 1:
            if time.monotonic() >= deadline:
                missing = [str(n) for n in range(1, count) if n not in links]
                raise refuse(
                    f"process {' and '.join(missing)} of {count} did not come to {_shown(address)} "
                    f"within {wait:g} s: start all of them, or say --num-processes {len(links) + 1}"
                )
            for key, _ in selector.select(0.5):
                if key.fileobj is server:
                    link = Link(server.accept()[0])
                    strangers.append(link)
                    selector.register(link, selectors.EVENT_READ, link)
                    continue
                link = key.data
                known = next((n for n, other in links.items() if other is link), None)
                try:
                    messages = link.received()
                    if known is None and messages:
                        number = _welcomed(messages[0], links, count, same)
                        strangers.remove(link)
                        links[number] = link
                except Refused as error:
                    raise refuse(str(error)) from None
                except (OSError, Strange, LookupError, TypeError):
                    selector.unregister(link)
                    if known is not None:
                        raise refuse(
                            f"process {known} of {count} has vanished before all had come: start "
                            "all of them again"
                        ) from None
                    strangers.remove(link)  # somebody else, who looked at what is here
                    link.close()
        for link in strangers:
            link.close()
        told = {"port": _free_port()}
        for link in links.values():
            link.send({"told": told})
    return Peers(0, count, links, told)


class Refused(Exception):
    """A process does not belong to the others."""


def _welcomed(
    hello: Mapping[str, Any], links: Mapping[int, Link], count: int, same: dict[str, Any]
) -> int:
    """The number of a process that has come."""
    number: int = hello["number"]
    if hello["count"] != count:
        raise Refused(
            f"process {number} was started with --num-processes {hello['count']}, and process 0 "
            f"with {count}: start all with the same"
        )
    if number in links:
        raise Refused(f"two processes have --process-id {number}: give each another one")
    theirs = hello["same"]
    for name in {**same, **theirs}:
        if name not in theirs or name not in same or theirs[name] != same[name]:
            raise Refused(
                f"process {number} differs from process 0 in {name}: {theirs.get(name)!r}, not "
                f"{same.get(name)!r}; start all of them with the same"
            )
    return number


def _listening(address: Address) -> socket.socket:
    host, port = address
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        try:
            return socket.create_server((host, port), family=family)
        except OSError as error:
            # A name of this machine that stands for none of its own addresses, as behind a NAT.
            if error.errno != errno.EADDRNOTAVAIL:
                raise
            return socket.create_server(("", port))
    except OSError as error:
        raise ValueError(
            f"process 0 cannot listen at {_shown(address)} ({error.strerror or error}): choose "
            "another port, and an address of the machine that it runs on"
        ) from None


def _free_port() -> int:
    with socket.create_server(("", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _shown(address: Address) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
