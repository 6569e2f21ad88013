"""Token files in the cache: made once, by one process, wherever a file can be."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rnn_jax.host.locks import exclusive
from rnn_jax.text import Tokenizing, Vocabulary, cached_tokens
from rnn_jax.text import cached_tokens as function

ROOT = Path(__file__).parents[2]
MODULE = sys.modules[function.__module__]
CHARACTERS = Tokenizing(level="char")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RNN_JAX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def text(tmp_path: Path) -> str:
    (tmp_path / "a.txt").write_text("some text. more text.\n" * 50)
    return str(tmp_path / "a.txt")


def test_a_text_is_tokenised_once(cache: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = cached_tokens(text, CHARACTERS)
    [file] = cache.iterdir()
    other = cached_tokens(text, Tokenizing(level="byte"))
    words = cached_tokens(text, CHARACTERS, vocabulary=Vocabulary(("s", "?"), 1))
    assert len(list(cache.iterdir())) == 3 and words.ids.max() == 1 and len(other) == 1100
    with monkeypatch.context() as patched:
        patched.setattr(MODULE, "tokenize_source", None)
        again = cached_tokens(text, CHARACTERS)
        assert again.path == before.path == file
        assert again.read().tolist() == before.read().tolist()
    # Other content, and a file that was cut off.
    Path(text).write_text("other")
    assert len(cached_tokens(text, CHARACTERS)) == 5 and len(list(cache.iterdir())) == 4
    file = cached_tokens(text, CHARACTERS).path
    file.write_bytes(file.read_bytes()[:-1])
    assert len(cached_tokens(text, CHARACTERS)) == 5


def test_a_folder_that_cannot_be_written_is_a_warning(
    tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RNN_JAX_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.warns(UserWarning, match="cannot be written to .* set RNN_JAX_CACHE to a writable"):
        tokens = cached_tokens(text, CHARACTERS)
    path = tokens.path
    assert len(tokens) == 1100 and path.exists()
    del tokens
    gc.collect()
    assert not path.parent.exists()


def script(body: str) -> str:
    return (
        "import sys, os, signal\nfrom rnn_jax.text import *\nfrom rnn_jax.text import tokenizing\n"
        "module = sys.modules[cached_tokens.__module__]\nwrite = tokenizing.write_tokens\n"
        f"{body}\nprint(len(cached_tokens(sys.argv[1], Tokenizing(level='char'))))\n"
    )


def test_a_killed_writer_leaves_nothing_that_stays(cache: Path, text: str) -> None:
    body = (
        "def killed(out, blocks, *a, **k):\n"
        "    def last():\n        yield from blocks\n        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    write(out, last(), *a, **k)\n"
        "tokenizing.write_tokens = killed"
    )
    ended = subprocess.run([sys.executable, "-c", script(body), text], cwd=ROOT)
    assert ended.returncode == -signal.SIGKILL
    assert not [path for path in cache.iterdir() if path.suffix == ".tokens"]
    tokens = cached_tokens(text, CHARACTERS)
    assert [path.name for path in cache.iterdir()] == [tokens.path.name]
    tokens.verify()


def test_two_processes_make_one_file(cache: Path, text: str) -> None:
    body = (
        "def slow(*a, **k):\n    import time; time.sleep(1); print('made'); write(*a, **k)\n"
        "tokenizing.write_tokens = slow"
    )
    running = [
        subprocess.Popen(
            [sys.executable, "-c", script(body), text], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    outputs = sorted(process.communicate()[0] for process in running)
    assert [process.returncode for process in running] == [0, 0]
    # Whoever came second waited, or found it made.
    assert outputs == ["1100\n", "made\n1100\n"]
    assert len(list(cache.iterdir())) == 1


def test_whoever_waits_takes_what_the_other_made(
    cache: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = cached_tokens(text, CHARACTERS).path
    content = path.read_bytes()
    path.unlink()
    waited = []

    def pause(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 2:
            path.write_bytes(content)

    monkeypatch.setattr(MODULE.time, "sleep", pause)
    monkeypatch.setattr("rnn_jax.host.locks._ATTEMPTS", 1)
    with exclusive(path.with_name(f".{path.name}.lock")):
        assert len(cached_tokens(text, CHARACTERS)) == 1100
    assert len(waited) == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="measures Linux processes")
def test_memory_does_not_grow_with_the_text(tmp_path: Path) -> None:
    """Eight times the text, and the same memory to a few megabytes."""
    begun = time.monotonic()
    body = (
        "import resource, sys\nfrom rnn_jax.text import *\n"
        "size, level = int(sys.argv[2]), sys.argv[3]\n"
        "line = 'some words, and a line of them 0123456789 without an end to it ' * 16384\n"
        "with open(sys.argv[1], 'w') as file:\n"
        "    for _ in range(size):\n        file.write(line)\n"
        "settings = Tokenizing(level=level, sentences=False)\n"
        "tokenize_source(find_source(sys.argv[1]), sys.argv[1] + '.tokens', settings)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)\n"
    )
    peaks = {}
    for size in (4, 32):
        path = tmp_path / f"{size}.txt"
        output = subprocess.run(
            [sys.executable, "-c", body, str(path), str(size), "char"],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        peaks[size] = int(output)
        assert path.stat().st_size == size * 63 * 16384
    assert peaks[32] - peaks[4] < 12, f"{peaks} MB after {time.monotonic() - begun:.0f} s"


def test_a_run_that_goes_on_finds_the_file_it_began_with(cache: Path, text: str) -> None:
    before = cached_tokens(text, CHARACTERS)
    assert cached_tokens(text, CHARACTERS, vocabulary=before.vocabulary).path == before.path
    other = Vocabulary((*before.vocabulary.tokens, "z"), 0)
    assert cached_tokens(text, CHARACTERS, vocabulary=other).path != before.path
