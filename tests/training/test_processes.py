"""What the processes of a training agree on; here they are threads of one."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from rnn_jax.training.plan import Position
from rnn_jax.training.processes import Processes
from rnn_jax.training.resuming import _lowest
from rnn_jax.training.store import Saved, Store


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    """What each of two processes returns or raises."""
    rows: dict[int, np.ndarray] = {}
    barrier = threading.Barrier(2, timeout=20)

    def gathered(self: Processes, content: np.ndarray) -> np.ndarray:
        rows[self.number] = content
        barrier.wait()
        every = np.stack([rows[0], rows[1]])
        barrier.wait()
        return every

    def both(call: Callable[[Processes], Any]) -> list[Any]:
        results: list[Any] = [None, None]

        def one(number: int) -> None:
            try:
                results[number] = call(Processes(2, number))
            except Exception as error:
                results[number] = error

        threads = [threading.Thread(target=one, args=(number,)) for number in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        return results

    monkeypatch.setattr(Processes, "_gathered", gathered)
    return both


def test_any_error_of_one_is_known_to_all(together: Callable[..., list[Any]]) -> None:
    for error, sentence in ((OSError("gone"), "OSError: gone"), (ValueError("bad"), "bad")):

        def failing(processes: Processes, error: Exception = error) -> None:
            if not processes.leads:
                raise error

        other, own = together(lambda of, call=failing: of.alike(lambda: call(of)))
        assert own is error
        assert type(other) is ValueError
        assert str(other) == sentence


def test_the_text_of_process_0_is_that_of_all(together: Callable[..., list[Any]]) -> None:
    assert together(lambda of: of.said(f"ba78{of.number}")) == ["ba780", "ba780"]


def test_all_evaluate_the_best_parameters_or_none(
    together: Callable[..., list[Any]], tmp_path: Path
) -> None:
    params = {"w": jnp.ones(2)}

    def lowest(notes: list[dict[str, Any] | None]) -> tuple[list[Any], list[int]]:
        evaluated: list[int] = []
        stores = []
        for number, note in enumerate(notes):
            (tmp_path / f"{len(notes)}{number}").mkdir(exist_ok=True)
            store = Store(tmp_path / f"{len(notes)}{number}")
            if note is not None:
                store.save(Saved({"step": jnp.array(1)}, {"step": 1}, params, (params, note)))
                store.settle()
            else:
                (store.path / "best.safetensors").unlink(missing_ok=True)
            stores.append(store)

        def one(of: Processes) -> float:
            def evaluate(_: Any) -> float:
                evaluated.append(of.number)
                return 3.0 + of.number

            return _lowest(stores[of.number], params, evaluate, Position(), of)

        found = together(one)
        for store in stores:
            store.close()
        return found, sorted(evaluated)

    assert lowest([{"loss": 2.0}, {}]) == ([2.0, 2.0], [])
    assert lowest([{}, {"loss": 2.0}]) == ([3.0, 3.0], [0, 1])
    assert lowest([{"loss": 2.0}, None]) == ([2.0, 2.0], [])
    assert lowest([{}, None]) == ([math.inf, math.inf], [])
    assert lowest([None, {"loss": 2.0}]) == ([math.inf, math.inf], [])
