"""Where corpora are looked for, what is read from them, and what is refused."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path

import pytest

from rnn_jax.text import NAMED_CORPORA, read_documents

DATA = Path(__file__).parents[2] / "data"


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def test_csv_with_quotes_newlines_and_letters(tmp_path):
    content = (
        '\ufeffauthor,body\r\nann,"She said ""no"", twice.\r\nThen left."\r\n'
        "bob,naïve ☕\r\n\r\ncat,   \r\ndan\r\n"
    )
    path = write(tmp_path / "c.csv", content)
    documents = read_documents(path)
    assert documents.texts == ('She said "no", twice.\nThen left.', "naïve ☕")
    assert documents.name == "c.csv" and path in documents.origin
    assert documents.sha256 == hashlib.sha256(content.encode()).hexdigest()
    assert read_documents(path, column="author").texts == ("ann", "bob", "cat", "dan")


def test_long_fields_leave_the_csv_module_as_it_was(tmp_path):
    before = csv.field_size_limit()
    path = write(tmp_path / "c.csv", "body\n" + "word " * 40000 + "\n")
    assert len(read_documents(path).texts[0]) == 200000
    assert csv.field_size_limit() == before


def test_text_file(tmp_path):
    path = write(tmp_path / "T.TXT", "\ufeffOne.\r\nTwo.\n")
    assert read_documents(path).texts == ("One.\nTwo.\n",)


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("a.txt", "", "is empty"),
        ("a.txt", " \n\t", "is empty"),
        ("a.csv", "", "is empty"),
        ("a.csv", "body\n \n", "is empty"),
        ("a.csv", "author,text\nx,y\n", "no column 'body'; it has author, text: .*--column"),
        ("a.txt", b"good \xff bad", "byte 0xff at offset 5"),
        ("a.csv", b"\xef\xbb\xbfbody\nx\xe9\n", "byte 0xe9 at offset 9"),
        ("a.pdf", "text", r"a\.pdf has a name of no kind that is read: .*\.txt, \.csv"),
        ("LICENCE", "text", "LICENCE has a name of no kind that is read: give it one that ends"),
    ],
)
def test_bad_files(tmp_path, name, content, message):
    path = write(tmp_path / name, content)
    with pytest.raises(ValueError, match=message) as caught:
        read_documents(path)
    assert path in str(caught.value) and "\n" not in str(caught.value)


def test_bad_names(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        read_documents(str(tmp_path / "none.txt"))
    with pytest.raises(ValueError, match="is a folder"):
        read_documents(str(tmp_path))
    with pytest.raises(ValueError, match="is unknown") as caught:
        read_documents("tiny-shakespear")
    for name in ("python-docs", *NAMED_CORPORA):
        assert name in str(caught.value)


def test_own_folder_comes_first(tmp_path, monkeypatch):
    monkeypatch.setenv("RNN_JAX_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert str(DATA) in read_documents("comments-sample").origin
    (tmp_path / "data").mkdir()
    content = (DATA / "comments-sample.csv").read_bytes()
    (tmp_path / "data" / "comments-sample.csv").write_bytes(content)
    assert read_documents("comments-sample").origin == "file data/comments-sample.csv"
    (tmp_path / "comments-sample.csv").write_bytes(content)
    assert str(tmp_path) in read_documents("comments-sample").origin


def test_what_cannot_be_downloaded_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("RNN_JAX_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("rnn_jax.text.named.__file__", str(tmp_path / "a" / "b" / "c.py"))
    with pytest.raises(
        ValueError, match=r"put war-and-peace\.txt .*into the folder \$RNN_JAX_DATA"
    ):
        read_documents("war-and-peace")


def test_comments_sample():
    documents = read_documents("comments-sample")
    assert len(documents.texts) == len(set(documents.texts)) >= 200
    everything = "".join(documents.texts)
    assert '"' in everything and "\n" in everything and not everything.isascii()


def test_the_table_is_the_one_in_the_readme():
    readme = (DATA / "README.md").read_text(encoding="utf-8")
    for corpus in NAMED_CORPORA.values():
        [row] = [line for line in readme.splitlines() if line.startswith(f"| `{corpus.name}`")]
        for entry in (corpus.filename, str(corpus.bytes), corpus.sha256, corpus.licence):
            assert f" {entry} " in row
        assert corpus.url is None or f"<{corpus.url}>" in row


@pytest.mark.parametrize("place", [1, 5, 20])
@pytest.mark.parametrize("end", ["", "\n", "\n\n"])
def test_a_quote_that_is_never_closed_names_its_row(tmp_path, place, end):
    rows = ["body,score"] + [f"Comment number {i} is here.,{i}" for i in range(20)]
    rows[place] = '"He said this and forgot to close it.,4'
    path = tmp_path / "comments.csv"
    path.write_text("\n".join(rows) + end, encoding="utf-8")
    with pytest.raises(
        ValueError, match=f"never closed, in the row that begins on line {place + 1}:"
    ):
        read_documents(str(path))
    rows[place] = '"He said this,\nand remembered to close it.",4'
    path.write_text("\n".join(rows) + end, encoding="utf-8")
    assert len(read_documents(str(path)).texts) == 20


@pytest.mark.parametrize("text", ['{"body": "a"}\n', ' [{"body": "a"}]'])
def test_json_is_not_read_as_a_csv(tmp_path, text):
    path = tmp_path / "comments.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="begins as JSON does"):
        read_documents(str(path))


def test_folders_named_like_files_and_files_named_twice(tmp_path, monkeypatch):
    (tmp_path / "a" / "x.txt").mkdir(parents=True)
    write(tmp_path / "a" / "x.txt" / "in.txt", "inside")
    write(tmp_path / "a" / "y.txt", "beside")
    assert read_documents(str(tmp_path / "a")).texts == ("inside", "beside")
    assert read_documents(str(tmp_path / "a" / "*.txt")).texts == ("beside",)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "z.txt").symlink_to(tmp_path / "a" / "y.txt")
    names = ["a/y.txt", str(tmp_path / "a" / "y.txt"), "a/../a/y.txt", "z.txt", "a"]
    assert read_documents(names).texts == ("beside", "inside")
