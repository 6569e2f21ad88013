"""Processes that find and watch one another; here they are threads of one."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from rnn_jax.host import meeting, peers
from rnn_jax.host.links import Link
from rnn_jax.host.meeting import meet
from rnn_jax.host.peers import Peers


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """What each call returns or raises."""
    results: list[Any] = [None] * len(calls)

    def one(index: int) -> None:
        try:
            results[index] = calls[index]()
        except ValueError as error:
            results[index] = error

    threads = [threading.Thread(target=one, args=(index,)) for index in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return results


def gathered(*numbers: int, wait: float = 10, **of_last: Any) -> list[Any]:
    """`meet` by processes of these numbers; the last one may be otherwise."""
    address = "127.0.0.1", free_port()
    options: list[dict[str, Any]] = [{"count": 3, "same": {"--seed": 1}} for _ in numbers]
    options[-1] |= of_last
    return at_once(
        *(
            lambda number=number, own=own: meet(address, number, wait=wait, **own)
            for number, own in zip(numbers, options, strict=True)
        )
    )


def watched(group: list[Peers]) -> list[list[str]]:
    said: list[list[str]] = [[] for _ in group]
    for one, sentences in zip(group, said, strict=True):
        one.watch(sentences.append)
    return said


def close(group: list[Peers]) -> None:
    for one in group:
        one.close()


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def answers(address: tuple[str, int]) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(address) == 0


def vanish(one: Peers) -> None:
    """What the operating system does for a process that is killed."""
    one._over = True
    for link in one._links.values():
        link._socket.shutdown(socket.SHUT_RDWR)


def test_all_hear_that_one_has_vanished() -> None:
    for victim in (0, 1):
        group = gathered(0, 1, 2)
        assert [one.number for one in group] == [0, 1, 2]
        assert len({one.told["port"] for one in group}) == 1
        said = watched(group)
        vanish(group[victim])
        others = [sentences for number, sentences in enumerate(said) if number != victim]
        until(lambda others=others: all(others))  # type: ignore[misc]
        for sentences in others:
            assert sentences[0].startswith(f"process {victim} of 3 has vanished")
        close(group)


def test_a_process_that_hangs_counts_as_vanished(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "SILENCE", 1.5)
    group = gathered(0, 1, 2)
    said = watched(group[:2])  # the last one says nothing
    time.sleep(1)
    assert said == [[], []]
    until(lambda: all(said))
    assert said[1][0] == "process 2 of 3 has vanished (it has been silent for 2 s)"
    close(group)


def test_all_hear_why_one_has_stopped() -> None:
    for failing in (0, 2):
        group = gathered(0, 1, 2)
        said = watched(group)
        group[failing].fail("the disk is full", 0.1)
        others = [sentences for number, sentences in enumerate(said) if number != failing]
        until(lambda others=others: all(others))  # type: ignore[misc]
        assert others[0][0] == others[1][0]
        assert others[0][0] == f"process {failing} of 3 has stopped: the disk is full"
        close(group)


def test_those_that_all_stop_each_end_by_themselves() -> None:
    group = gathered(0, 1, 2)
    said = watched(group)

    def stop(one: Peers, patience: float) -> None:
        one.fail("the text has changed", patience)
        one.close()

    at_once(*(lambda one=one, wait=0.2 + 0.3 * one.number: stop(one, wait) for one in group))
    time.sleep(0.3)
    assert said == [[], [], []]
    close(group)


def test_the_end_is_waited_for_and_nobody_missed_after_it() -> None:
    group = gathered(0, 1, 2)
    said = watched(group)
    late = threading.Thread(target=group[1].finish)
    ends = [threading.Thread(target=group[number].finish) for number in (0, 2)]
    for end in ends:
        end.start()
    time.sleep(0.3)
    assert all(end.is_alive() for end in ends)
    late.start()
    for end in (*ends, late):
        end.join(10)
        assert not end.is_alive()
    close(group)
    assert said == [[], [], []]


@pytest.mark.parametrize(
    ("numbers", "of_last", "sentence"),
    [
        (
            (0, 1, 2),
            {"same": {"--seed": 2}},
            "process 2 differs from process 0 in --seed: 2, not 1",
        ),
        ((0, 1, 2), {"same": {}}, "process 2 differs from process 0 in --seed: None, not 1"),
        ((0, 1, 2), {"count": 4}, "process 2 was started with --num-processes 4, and process 0"),
        ((0, 1, 1), {}, "two processes have --process-id 1: give each another one"),
        ((0, 1), {"wait": 1}, "process 2 of 3 did not come to 127.0.0.1:"),
    ],
)
def test_what_does_not_belong_together_is_one_sentence_in_each(
    numbers: tuple[int, ...], of_last: dict[str, Any], sentence: str
) -> None:
    errors = gathered(*numbers, wait=of_last.pop("wait", 10), **of_last)
    for place, error in enumerate(errors):
        assert isinstance(error, ValueError), errors
        # One that comes when process 0 has ended finds nobody.
        late = place == 1 and len(numbers) == 3 and "process 0 does not answer" in str(error)
        assert late or sentence in str(error)


def test_nobody_there_or_somebody_else_is_one_sentence() -> None:
    with pytest.raises(
        ValueError, match=r"process 0 does not answer at 127\.0\.0\.1:\d+ within 0\.1 s"
    ):
        meet(("127.0.0.1", free_port()), 1, 2, same={}, wait=0.1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        with pytest.raises(ValueError, match=r"cannot listen at .*Address already in use"):
            meet(address, 0, 2, same={}, wait=5)

        def other() -> None:
            with server.accept()[0] as connection:
                connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")
                connection.recv(100)

        _, error = at_once(other, lambda: meet(address, 1, 2, same={}, wait=5))
        assert "is no such training: choose another port" in str(error)


def test_a_stranger_is_not_taken_for_a_process() -> None:
    address = "127.0.0.1", free_port()

    def strange() -> None:
        until(lambda: answers(address))
        for words in (b"GET / HTTP/1.1\r\n\r\n", b"[]\n", b'{"number": 1}\n', b""):
            with socket.create_connection(address) as connection:
                connection.sendall(words)
        time.sleep(0.2)

    def late() -> Peers:
        time.sleep(1)
        return meet(address, 1, 2, same={}, wait=10)

    host, _, other = at_once(
        lambda: meet(address, 0, 2, same={}, wait=10),
        strange,
        late,
    )
    assert (host.number, other.number) == (0, 1)
    close([host, other])


def test_one_that_vanishes_before_all_have_come_ends_the_wait() -> None:
    address = "127.0.0.1", free_port()

    def short() -> None:
        until(lambda: answers(address))
        link = Link(socket.create_connection(address))
        link.send({"number": 1, "count": 3, "same": {}})
        time.sleep(0.2)
        link.close()

    error, _ = at_once(lambda: meet(address, 0, 3, same={}, wait=10), short)
    assert "process 1 of 3 has vanished before all had come" in str(error)


def test_one_process_alone_meets_nobody() -> None:
    alone = meet(("127.0.0.1", 1), 0, 1, same={}, wait=1)
    alone.watch(pytest.fail)
    alone.finish()
    assert (alone.number, alone.count, alone.told) == (0, 1, {})


def test_one_that_came_first_waits_as_long_as_process_0() -> None:
    address = "127.0.0.1", free_port()

    def after(seconds: float, number: int) -> Peers:
        time.sleep(seconds)
        return meet(address, number, 3, same={}, wait=1)

    meeting._LONGER, before = 0.3, meeting._LONGER
    try:
        group = at_once(lambda: after(0, 1), lambda: after(0.8, 0), lambda: after(1.6, 2))
    finally:
        meeting._LONGER = before
    assert [one.number for one in group] == [1, 0, 2], group
    close(group)


def test_what_answers_and_says_nothing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meeting, "_LONGER", 0.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        host, port = server.getsockname()
        with pytest.raises(ValueError, match=rf"at {host}:{port} has not said within 1 s"):
            meet((host, port), 1, 2, same={}, wait=1)


def test_one_that_is_gone_when_all_have_come_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(link: Link, message: dict[str, Any]) -> None:
        if "told" in message:
            raise BrokenPipeError
        send(link, message)

    send = Link.send
    monkeypatch.setattr(Link, "send", gone)
    errors = gathered(0, 1, 2)
    for error in errors:
        assert "process 1 of 3 has vanished" in str(error) or "process 2 of 3" in str(error), errors
