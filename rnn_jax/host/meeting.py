"""How processes find one another at one address, where process 0 listens."""

from __future__ import annotations

import contextlib
import errno
import json
import selectors
import socket
import time
from collections.abc import Mapping
from typing import Any

from rnn_jax.host.links import Link, Strange
from rnn_jax.host.peers import Peers

__all__ = ["Address", "meet"]

Address = tuple[str, int]
_LONGER = 10.0  # seconds for what process 0 says to arrive


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
        told = _told(link, address, wait)
    except BaseException:
        link.close()
        raise
    return Peers(number, count, {0: link}, told)


def _told(link: Link, address: Address, wait: float) -> Mapping[str, Any]:
    """What process 0 tells when all have come."""
    place = _shown(address)
    # Process 0 is the one to say who does not come, and may have begun to wait later.
    patience = wait + _LONGER
    deadline = time.monotonic() + patience
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
                    if "wait" in message:
                        patience = message["wait"] + _LONGER
                        deadline = time.monotonic() + patience
                        continue
                    if "told" not in message:
                        raise strange
                    told: Mapping[str, Any] = message["told"]
                    return told
    raise ValueError(
        f"what answers at {place} has not said within {patience:.0f} s whether all processes have "
        "come: is it process 0, and does it still run?"
    )


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
        server.settimeout(1)  # what a selector has seen may be gone again
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
                    try:
                        link = Link(server.accept()[0])
                    except OSError:  # gone again
                        continue
                    strangers.append(link)
                    selector.register(link, selectors.EVENT_READ, link)
                    continue
                link = key.data
                known = next((n for n, other in links.items() if other is link), None)
                try:
                    messages = link.received()
                    if known is None and messages:
                        known = _welcomed(messages[0], links, count, same)
                        strangers.remove(link)
                        links[known] = link
                        link.send({"wait": max(0.0, deadline - time.monotonic())})
                except Refused as error:
                    raise refuse(str(error)) from None
                except (OSError, Strange, LookupError, TypeError):
                    selector.unregister(link)
                    if known is not None:
                        raise refuse(_gone(known, count)) from None
                    strangers.remove(link)  # somebody else, who looked at what is here
                    link.close()
        for link in strangers:
            link.close()
        told = {"port": _free_port()}
        for number, link in links.items():
            try:
                link.send({"told": told})
            except OSError:
                raise refuse(_gone(number, count)) from None
    return Peers(0, count, links, told)


def _gone(number: int, count: int) -> str:
    return f"process {number} of {count} has vanished before all had come: start all of them again"


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
