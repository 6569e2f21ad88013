"""Downloads from a local server: complete and correct, or not at all."""

from __future__ import annotations

import hashlib
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from rnn_jax.text import fetch, named, read_documents

CONTENT = b"It was the best of times. " * 5000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/gone":
            return self.send_error(404)
        self.send_response(200)
        if self.path != "/unannounced":
            self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[:70000] if self.path == "/cut" else CONTENT)

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


@pytest.mark.parametrize("size", [None, len(CONTENT)])
@pytest.mark.parametrize("page", ["/right", "/unannounced"])
def test_right_bytes(server, tmp_path, page, size):
    target = tmp_path / "new" / "text.txt"
    fetch(server + page, SHA256, target, size=size)
    assert target.read_bytes() == CONTENT
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize(
    "page, sha256, size, message",
    [
        ("/right", "0" * 64, None, "its sha256 is"),
        ("/right", SHA256, 100, "bytes instead of 100"),
        ("/cut", SHA256, None, "cut off after 70000 of 130000 bytes"),
        ("/unannounced", SHA256, 200000, "cut off after 130000 of 200000 bytes"),
        ("/gone", SHA256, None, "404"),
    ],
)
def test_failures_leave_nothing(server, tmp_path, page, sha256, size, message):
    target = tmp_path / "text.txt"
    target.write_text("older")
    with pytest.raises(ValueError, match=message) as caught:
        fetch(server + page, sha256, target, size=size)
    assert server + page in str(caught.value) and "$RNN_JAX_DATA" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("text.txt", "older")]


def test_nobody_answers(tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/text"
        with pytest.raises(ValueError, match="cannot be downloaded"):
            fetch(url, SHA256, tmp_path / "text.txt")
    assert not list(tmp_path.iterdir())


def test_unwritable_folder(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"cannot be saved in .*RNN_JAX_CACHE"):
        fetch(server + "/right", SHA256, tmp_path / "file" / "text.txt")


def test_named_corpus_is_downloaded_once_and_kept(server, tmp_path, monkeypatch):
    monkeypatch.setenv("RNN_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("RNN_JAX_DATA", str(tmp_path))

    def table(page):
        corpus = named.NamedCorpus("best", "best.txt", server + page, SHA256, len(CONTENT), "")
        monkeypatch.setitem(named.NAMED_CORPORA, "best", corpus)

    table("/right")
    documents = read_documents("best")
    assert documents.texts == (CONTENT.decode(),) and documents.sha256 == SHA256
    table("/gone")
    assert read_documents("best") == documents
    # A damaged copy in the cache is fetched again; in the user's own folder it is an error.
    (tmp_path / "cache" / "best.txt").write_text("damaged")
    with pytest.raises(ValueError, match="404"):
        read_documents("best")
    (tmp_path / "best.txt").write_text("another")
    with pytest.raises(ValueError, match=r"best\.txt is not the corpus best: its sha256"):
        read_documents("best")
