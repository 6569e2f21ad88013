"""Work shared by processes."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rnn_jax.text import Tokenizing, cached_tokens, find_source, tokenize_source
from rnn_jax.text.numbering import Reader
from rnn_jax.text.workers import in_order, worker_count


def test_results_come_in_order() -> None:
    work = range(20)
    for processes in (1, 2):
        assert list(in_order(math.factorial, work, processes, preload=["math"])) == [
            math.factorial(n) for n in work
        ]


def test_a_process_that_is_killed_is_one_sentence() -> None:
    with pytest.raises(
        ValueError, match=r"a process that tokenised was killed, .*--processes"
    ) as e:
        list(in_order(os._exit, [1], 2, preload=["os"]))
    assert "\n" not in str(e.value) and 'no `if __name__ == "__main__":`' in str(e.value)


def test_bytes_and_characters_are_tokenised_by_one_unless_several_are_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rnn_jax.text.workers._cores", lambda: 4)
    several = {"word": True, "subword": True, "char": False, "byte": False}
    for level, faster in several.items():
        reader = Reader(level, False, False, False, "english")  # type: ignore[arg-type]
        assert worker_count(None, reader, 1 << 40) == (4 if faster else 1)
        assert worker_count(3, reader, 1 << 40) == 3
        assert worker_count(3, reader, 1 << 10) == 1
    assert worker_count(None, Reader("char", True, False, False, "english"), 1 << 40) == 4
    with pytest.raises(ValueError, match="--processes must be at least 1, not 0"):
        worker_count(0, reader, 1 << 10)


@pytest.mark.skipif(
    "forkserver" not in multiprocessing.get_all_start_methods(), reason="modules are not shared"
)
def test_what_processes_need_is_there_before_their_first_work(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        "from rnn_jax.text.numbering import Reader, needed\n"
        "from rnn_jax.text.workers import in_order\n"
        "def there(name):\n"
        "    return name in sys.modules\n"
        "if __name__ == '__main__':\n"
        "    names = needed(Reader('word', True, False, False, 'german'))\n"
        "    assert 'nltk.tokenize' in names and not there('nltk.tokenize')\n"
        "    assert all(in_order(there, names, 2, preload=names))\n"
    )
    subprocess.run(
        [sys.executable, str(script)],
        check=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs a signal that kills")
def test_no_process_outlives_one_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import os, signal, time\n"
        "from rnn_jax.text.workers import in_order\n"
        "if __name__ == '__main__':\n"
        "    for _ in in_order(time.sleep, [0] * 99, 2, preload=['time']):\n"
        "        print('begun', flush=True)\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    # This waits until nobody is left who could write into the pipe.
    ended = subprocess.run(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert ended.returncode == -signal.SIGKILL and ended.stdout == b"begun\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a full disk")
def test_a_disk_that_fills_up_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RNN_JAX_CACHE", str(tmp_path / "cache"))
    opened = []

    def full(dir: Path, buffering: int = -1) -> Any:
        opened.append(dir)
        return open("/dev/full", "r+b", buffering=buffering)

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    settings = Tokenizing(level="char")
    with pytest.raises(ValueError, match=r"a\.tokens cannot be written, for the disk is full"):
        tokenize_source(find_source("comments-sample"), tmp_path / "a.tokens", settings)
    with pytest.raises(ValueError, match="cannot be written, for the disk is full"):
        cached_tokens("comments-sample", settings)
    # Not begun again elsewhere, as where a folder cannot be written to.
    assert set(opened) == {tmp_path, tmp_path / "cache"}
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
