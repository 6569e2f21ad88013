"""Files of every kind, compressed or not, in pieces that never hold the whole."""

from __future__ import annotations

import gzip
import json
import lzma
import random
import sys
from pathlib import Path

import pytest

from rnn_jax.text import find_source, formats, read_documents

TEXTS = ("First.\nIt goes on.", "Zweiter: größer ☕.", 'the third, with a "quote"\tand a tab')


def documents(path: object, **options: str) -> tuple[str, ...]:
    return read_documents(str(path), **options).texts


def quoted(text: str, delimiter: str) -> str:
    return f'7{delimiter}"' + text.replace('"', '""') + '"\r\n'


CONTENT = {
    ".csv": "n,body\r\n" + "".join(quoted(t, ",") for t in TEXTS),
    ".tsv": "n\tbody\r\n" + "".join(quoted(t, "\t") for t in TEXTS),
    ".jsonl": "\n".join(
        [
            json.dumps({"n": 7, "body": TEXTS[0]}),
            "",
            json.dumps(TEXTS[1], ensure_ascii=False),
            json.dumps({"body": None}),
            json.dumps({"body": TEXTS[2]}),
        ]
    ),
    ".txt": "\ufeff" + "\r\n".join(TEXTS),
}


@pytest.mark.parametrize("read", [1, 7, 1 << 20])
@pytest.mark.parametrize("compress", ["", ".gz", ".xz", ".zst"])
@pytest.mark.parametrize("kind", CONTENT)
def test_every_kind_gives_the_same_texts(
    tmp_path: Path, kind: str, compress: str, read: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "_READ", read)
    content = CONTENT[kind].encode()
    if compress == ".gz":
        content = gzip.compress(content[:9]) + gzip.compress(content[9:])
    elif compress == ".xz":
        content = lzma.compress(content)
    elif compress:
        zstandard = pytest.importorskip("zstandard")
        content = zstandard.compress(content[:9]) + zstandard.compress(content[9:])
    path = tmp_path / f"a{kind}{compress}"
    path.write_bytes(content)
    assert documents(path) == (("\n".join(TEXTS),) if kind == ".txt" else TEXTS)


def test_parquet(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "a.parquet"
    parquet.write_table(arrow.table({"n": [1, 2, 3, 4], "body": [*TEXTS, None]}), path)
    assert documents(path) == TEXTS
    with pytest.raises(ValueError, match=r"no column 'text'; it has n, body: .*--column"):
        documents(path, column="text")
    with pytest.raises(ValueError, match=r"column 'n' of .* holds no text but int"):
        documents(path, column="n")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match=r"a\.parquet is not a readable Parquet file"):
        documents(path)


@pytest.mark.parametrize("module, ending", [("zstandard", "txt.zst"), ("pyarrow", "parquet")])
def test_a_library_that_is_missing_is_named(
    tmp_path: Path, module: str, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (module, f"{module}.parquet"):
        monkeypatch.setitem(sys.modules, name, None)
    path = tmp_path / f"a.{ending}"
    path.write_bytes(b"x")
    with pytest.raises(ValueError, match=rf"needs the library {module}: pip install .*corpora"):
        documents(path)


@pytest.mark.parametrize("read", [1, 3, 1 << 20])
def test_what_is_not_utf_8_names_file_and_byte(
    tmp_path: Path, read: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "_READ", read)
    path = tmp_path / "a.txt"
    for begin in ("", "\ufeff", "é☕" * 5):
        for bad in (b"\xff and on", b"\xe2\x98", b"\xe2\x98x"):
            path.write_bytes(begin.encode() + bad)
            with pytest.raises(ValueError, match=r"a\.txt is not UTF-8") as caught:
                documents(path)
            assert f"byte 0x{bad[0]:02x} at offset {len(begin.encode())} " in str(caught.value)
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(b"good \xff bad"))
    with pytest.raises(ValueError, match="byte 0xff at offset 5"):
        documents(path)


@pytest.mark.parametrize("ending", [".gz", ".xz", ".zst"])
def test_a_file_that_was_cut_off_is_refused(tmp_path: Path, ending: str) -> None:
    rng = random.Random(0)
    content = "".join(chr(rng.randrange(32, 127)) for _ in range(5000)).encode()
    if ending == ".zst":
        content = pytest.importorskip("zstandard").compress(content)
    else:
        content = (gzip if ending == ".gz" else lzma).compress(content)
    path = tmp_path / f"a.txt{ending}"
    for damaged in (content[:-20], b"no such compression"):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"a\.txt\.\w+ is damaged, or not compressed as its"):
            documents(path)


@pytest.mark.parametrize(
    "line, message",
    [
        ("{", "line 2 of .* is not JSON"),
        ('{"a": 1, "b": 2}', "line 2 of .* has no key 'body'; it has a, b: .*--column"),
        ('{"body": 3}', "line 2 of .* holds no text but int"),
        ("[1]", "line 2 of .* holds no text but list"),
    ],
)
def test_bad_records_name_their_line(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('"fine"\n' + line)
    with pytest.raises(ValueError, match=message):
        documents(path)


def test_folders_patterns_and_several_paths_come_in_order(tmp_path: Path) -> None:
    for name in ("b.txt", "a.txt", "sub/c.jsonl", "sub/notes.md", ".hidden/d.txt", "sub/.e.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f'"{name}"')
    folder = str(tmp_path)
    assert documents(folder) == ('"a.txt"', '"b.txt"', "sub/c.jsonl")
    assert documents(f"{folder}/?.txt") == ('"a.txt"', '"b.txt"')
    assert documents(f"{folder}/**/*.jsonl") == ("sub/c.jsonl",)
    several = read_documents([f"{folder}/sub", f"{folder}/b.txt", folder])
    assert several.texts == ("sub/c.jsonl", '"b.txt"', '"a.txt"')
    assert several.name == "c.jsonl and 2 more" and several.origin.startswith("3 files, ")
    with pytest.raises(ValueError, match=r"matches no file that ends in \.txt, \.csv"):
        documents(f"{folder}/*.md")
    with pytest.raises(ValueError, match="python-docs has no files: give it alone"):
        find_source(["python-docs", folder])
    with pytest.raises(ValueError, match="names nothing"):
        find_source([])


def test_a_folder_without_texts_says_what_it_looks_for(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("x")
    with pytest.raises(ValueError, match=r"is a folder without a file that ends in \.txt, \.csv"):
        documents(tmp_path)


def test_the_identity_follows_the_files(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one")
    before = find_source(str(path)).identity()
    assert before == find_source(str(path)).identity()
    path.write_text("one more")
    assert before != find_source(str(path)).identity()
    assert find_source(str(path), column="x").identity() != find_source(str(path)).identity()
    assert find_source("python-docs").identity() == find_source("python-docs").identity()


def test_blank_texts_are_left_out_wherever_they_are_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "_READ", 2)
    for name, content in (("a", "\n\n\n\nx\n\n\n\n\ny"), ("b", "\n\n\n\n\n"), ("c", "z")):
        (tmp_path / f"{name}.txt").write_text(content)
    assert documents(tmp_path) == ("\n\n\n\nx\n\n\n\n\ny", "z")
    pieces = list(find_source(str(tmp_path)).pieces())
    assert sum(piece.begins for piece in pieces) == 2 and len(pieces) > 4
