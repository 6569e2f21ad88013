"""Token files: what is written is read, and whatever was damaged is found."""

from __future__ import annotations

import errno
import itertools
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnn_jax.text import TokenFile, Vocabulary, write_tokens
from rnn_jax.text import token_file as module

ROOT = Path(__file__).parents[2]


def vocabulary(size: int) -> Vocabulary:
    return Vocabulary(tuple(f"t{i}" for i in range(size)), unknown=0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "a.tokens"


@pytest.mark.parametrize("size, dtype", [(65_536, np.uint16), (65_537, np.uint32)])
def test_what_is_written_is_read(
    path: Path, size: int, dtype: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BLOCK", 64)
    ids = np.random.default_rng(0).integers(0, size, 1001)
    ids[5] = size - 1
    words = vocabulary(size)
    write_tokens(
        path,
        np.split(ids, [0, 3, 700]),
        words,
        sentences=[[0, 400], [1001]],
        documents=[[0]],
        settings={"level": "word"},
        source={"sha256": "abc", "name": "a.txt"},
    )
    assert [p.name for p in path.parent.iterdir()] == ["a.tokens"]
    with TokenFile.open(path) as tokens:
        tokens.verify()
        assert len(tokens) == 1001 and tokens.dtype == dtype
        assert tokens.ids.dtype == dtype and not tokens.ids.flags.writeable
        np.testing.assert_array_equal(tokens.ids, ids)
        np.testing.assert_array_equal(tokens.read(), ids)
        np.testing.assert_array_equal(tokens.read(10, -10), ids[10:-10])
        assert len(tokens.read(10, 5)) == 0
        np.testing.assert_array_equal(
            tokens.gather([7, 0, 998], 3), [ids[7:10], ids[:3], ids[998:]]
        )
        assert tokens.sentences.tolist() == [0, 400, 1001] and tokens.documents.tolist() == [0]
        assert tokens.vocabulary == words
        assert tokens.settings == {"level": "word"} and tokens.sha256 == "abc"
        with pytest.raises(ValueError, match=r"a window of 3 tokens reaches beyond the 1,001 of"):
            tokens.gather([999], 3)


def test_nothing_at_all_can_be_written(path: Path) -> None:
    write_tokens(path, [], Vocabulary(("a",)))
    with TokenFile.open(path) as tokens:
        tokens.verify()
        assert len(tokens) == len(tokens.ids) == len(tokens.sentences) == len(tokens.documents) == 0


def test_every_flipped_bit_and_every_cut_is_found(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BLOCK", 32)
    write_tokens(path, [range(50)], vocabulary(60), sentences=[[0, 50]], documents=[[0]])
    whole = path.read_bytes()
    for place in [*range(90), *range(90, len(whole), 11)]:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with pytest.raises(ValueError, match=r"damaged|not a token file|version") as e:
            TokenFile.open(path).verify()
        assert "\n" not in str(e.value)
        if place % 7 == 0:
            path.write_bytes(whole[:place])
            with pytest.raises(ValueError, match=r"cut off or damaged|is not a token file"):
                TokenFile.open(path)
    path.write_bytes(whole + b"x")
    with pytest.raises(ValueError, match="cut off or damaged"):
        TokenFile.open(path)
    path.write_bytes(whole[:70] + b"\xff" + whole[71:])
    with pytest.raises(ValueError, match="between bytes 64 and 96: remove it and tokenise"):
        TokenFile.open(path).verify()


def test_a_file_that_shrinks_while_it_is_read_says_so(path: Path) -> None:
    write_tokens(path, [range(50)], vocabulary(60))
    with TokenFile.open(path) as tokens:
        path.write_bytes(path.read_bytes()[:90])
        with pytest.raises(ValueError, match="cut off while it was read"):
            tokens.read()


def test_what_was_opened_is_read_whatever_takes_its_place(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = vocabulary(300)
    write_tokens(path, [range(50)], words, documents=[[0, 7]])
    monkeypatch.chdir(path.parent)
    with TokenFile.open(path.name) as tokens:
        write_tokens(path, [range(200, 240)], words, documents=[[0, 9]])
        monkeypatch.chdir("/")
        assert tokens.documents.tolist() == [0, 7]
        assert tokens.ids.tolist() == tokens.read().tolist() == list(range(50))
        tokens.verify()
    assert tokens.ids.tolist() == list(range(50))  # mapped before it was closed
    with TokenFile.open(path) as tokens:
        pass
    later = (tokens.read, tokens.read_documents, lambda: tokens.gather([0], 1), lambda: tokens.ids)
    for use in later:
        with pytest.raises(ValueError, match=r"a\.tokens is closed: open it anew"):
            use()


@pytest.mark.parametrize(
    "blocks, options, message",
    [
        ([[0, 1], [2, 3]], {}, r"the id 3: .* whole numbers from 0 to 2"),
        ([[0, -1]], {}, "the id -1: "),
        ([[70_000]], {}, "the id 70000: "),
        ([[0.0, 1.5]], {}, "the id of dtype float64: "),
        ([[True]], {}, "the id of dtype bool: "),
        ([[0, 1]], {"documents": [[0, 3]]}, "the place 3: .* from 0 to 2"),
        ([[0, 1]], {"sentences": [[0, -2]]}, "the place -2: "),
    ],
)
def test_what_is_no_id_of_the_vocabulary_is_refused(
    path: Path, blocks: list[list[int]], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        write_tokens(path, blocks, vocabulary(3), **options)
    assert not list(path.parent.iterdir())


def test_what_is_no_token_file_is_refused(path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot be read \(No such file.*rnn-jax tokenize"):
        TokenFile.open(path)
    path.parent.mkdir()
    path.write_text("some text")
    with pytest.raises(ValueError, match="is not a token file"):
        TokenFile.open(path)


def test_another_vocabulary_or_other_settings_are_told_apart(path: Path) -> None:
    words = Vocabulary(("a", "b", "c"), unknown=0)
    write_tokens(path, [[0, 1]], words, settings={"level": "char", "letters_only": False})
    with TokenFile.open(path) as tokens:
        tokens.expect()
        tokens.expect(vocabulary=words, settings={"level": "char"})
        for other, message in (
            (Vocabulary(("a", "b")), "its vocabulary has 3 tokens and not 2"),
            (Vocabulary(("a", "x", "c"), 0), "id 1 of its vocabulary is 'b' and not 'x'"),
            (Vocabulary(("a", "b", "c")), "the unknown token of its vocabulary is 0 and not None"),
        ):
            with pytest.raises(ValueError, match=message):
                tokens.expect(vocabulary=other)
        with pytest.raises(ValueError, match="its level is 'char' and not 'word': tokenise"):
            tokens.expect(settings={"level": "word", "letters_only": False})


@pytest.mark.parametrize(
    "number, message", [(errno.ENOSPC, "the disk is full: make room"), (errno.EIO, "I/O error")]
)
def test_a_full_disk_leaves_what_was_there(path: Path, number: int, message: str) -> None:
    write_tokens(path, [[1, 2]], vocabulary(3))
    before = path.read_bytes()

    def failing():
        yield [1]
        raise OSError(number, "I/O error")

    with pytest.raises(ValueError, match=message):
        write_tokens(path, failing(), vocabulary(3))
    assert path.read_bytes() == before and len(list(path.parent.iterdir())) == 1


def test_a_folder_that_is_a_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("")
    with pytest.raises(ValueError, match=r"cannot be written \(.*\): choose a writable folder"):
        write_tokens(tmp_path / "f" / "a.tokens", [[0]], vocabulary(1))


def test_threads_share_a_file(path: Path) -> None:
    write_tokens(path, [np.arange(50_000)], vocabulary(50_000))
    wrong = []

    def reading(tokens: TokenFile, step: int) -> None:
        for start in range(0, 49_000, step):
            got = tokens.read(start, start + 100)
            if got[0] != start or got[-1] != start + 99:
                wrong.append(start)

    with TokenFile.open(path) as tokens:
        threads = [threading.Thread(target=reading, args=(tokens, 97 + i)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong


def test_a_killed_writer_leaves_the_file_as_it_was(path: Path) -> None:
    write_tokens(path, [[1, 2]], vocabulary(3))
    before = path.read_bytes()
    script = (
        "import sys, os, signal\nfrom rnn_jax.text import Vocabulary, write_tokens\n"
        "def blocks():\n    yield [0] * 100000\n    os.kill(os.getpid(), signal.SIGKILL)\n"
        "write_tokens(sys.argv[1], blocks(), Vocabulary(('a',)))"
    )
    ended = subprocess.run([sys.executable, "-c", script, str(path)], cwd=ROOT)
    assert ended.returncode == -signal.SIGKILL
    assert path.read_bytes() == before
    with TokenFile.open(path) as tokens:
        tokens.verify()


def test_long_files_are_written_from_a_generator(path: Path) -> None:
    blocks = (np.full(1000, i % 7) for i in itertools.islice(itertools.count(), 2000))
    write_tokens(path, blocks, vocabulary(7))
    with TokenFile.open(path) as tokens:
        tokens.verify()
        assert len(tokens) == 2_000_000 and tokens.ids[-1] == 1999 % 7


def test_damage_is_noticed_by_whatever_reads_it_first(tmp_path: Path) -> None:
    path = tmp_path / "a.tokens"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("rnn_jax.text.token_file.BLOCK", 64)
        ids = np.arange(200) % 3
        write_tokens(
            path, [ids], Vocabulary(("a", "b", "c")), sentences=[[0, 90, 200]], documents=[[0, 90]]
        )
    with TokenFile.open(path) as tokens:
        places = {name: start for name, (start, _) in tokens.description["sections"].items()}
        assert tokens.read_sentences(1, 3).tolist() == [90, 200]
        assert tokens.read_documents(1).tolist() == [90]
        assert (tokens.sentence_count, tokens.document_count) == (2, 2)
    good = path.read_bytes()
    reads: dict[str, tuple[int, Any]] = {
        "ids": (300, lambda tokens: tokens.gather([0, 148], 20)),
        "sentences": (0, lambda tokens: tokens.read_sentences()),
        "documents": (8, lambda tokens: tokens.read_documents(1)),
    }
    for section, (offset, read) in reads.items():
        at = places[section] + offset
        path.write_bytes(good[:at] + bytes([good[at] ^ 4]) + good[at + 1 :])
        with TokenFile.open(path) as tokens:
            assert tokens.gather([0, 3], 5).tolist() == [[0, 1, 2, 0, 1]] * 2  # another block
            with pytest.raises(ValueError, match=r"a.tokens is damaged between bytes"):
                read(tokens)
