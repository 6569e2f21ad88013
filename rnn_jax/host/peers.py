"""Processes that watch one another, so that all end when one of them vanishes or fails.

Each keeps a connection to process 0. Over it goes that a process is alive, once a second; that it
failed; that it is done. Where one is killed, the operating system closes its connection, whatever
it was doing: the others know within milliseconds. One whose machine is gone is noticed by that
system's probes, one that hangs by its silence.
"""

from __future__ import annotations

import contextlib
import selectors
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from rnn_jax.host.links import Link, Strange

__all__ = ["SILENCE", "Peers"]

SILENCE = 50.0  # seconds without a word after which a process counts as vanished
_BEAT = 1.0


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
        self._stopped: set[int] = set()  # have said why, and will close their connections
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
        self._over = True  # the others are about to go because of this one
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
            self._stopped.add(number)
            self._tell({"lost": message["failed"]})
            self._lost(message["failed"])
        elif "lost" in message:
            self._stopped.add(number)
            self._lost(message["lost"], vanished=message.get("vanished", False))

    def _vanished(self, number: int, how: str) -> None:
        sentence = f"process {number} of {self.count} has vanished ({how})"
        if not self._over and number not in self._stopped:
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
