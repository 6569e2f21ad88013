"""Token files of corpora: the ids of the plain functions, however the text is cut."""

from __future__ import annotations

import random
from collections import Counter, deque
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnn_jax.text import (
    Documents,
    TokenFile,
    Tokenizing,
    Vocabulary,
    character_corpus,
    document_begins,
    encode_sentences,
    find_source,
    most_frequent,
    read_documents,
    reference_vocabulary,
    tokenize_corpus,
    tokenize_source,
    tokenize_words,
    tokenizing,
)
from rnn_jax.text.formats import Reading
from rnn_jax.text.words import Words

TEXTS = (
    "The first text. It has Σίσυφος and naïve cafés!\nA line; -- another\u2028one.\n\n\n",
    "1234 -- 5678\n",
    "x",
    'Then he said: "No." And she went.\tDr. Smith paid 3.50. Why? No idea… 😀\n' * 7,
    "...\n...\nlast one without an end",
)


def write(folder: Path, texts: tuple[str, ...] = TEXTS) -> str:
    folder.mkdir(exist_ok=True)
    for i, text in enumerate(texts):
        (folder / f"{i}.txt").write_text(text, encoding="utf-8")
    return str(folder)


def tokenized(
    corpus: str,
    out: Path,
    vocabulary: Vocabulary | None = None,
    processes: int = 1,
    **settings: Any,
) -> TokenFile:
    source, options = find_source(corpus), Tokenizing(**settings)
    tokenize_source(source, out, options, vocabulary=vocabulary, processes=processes)
    tokens = TokenFile.open(out)
    tokens.verify()
    return tokens


def stream(documents: Documents, **settings: Any) -> tuple[np.ndarray, Vocabulary, np.ndarray]:
    texts = documents.texts
    if not settings.get("letters_only"):
        texts = (*(f"{one}\n" for one in texts[:-1]), texts[-1])
    ids, found = character_corpus(texts, **settings)
    return ids, found, document_begins(texts, **settings)


@pytest.fixture(params=[1, 5, 1 << 20])
def cut(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Chunks of so many characters."""
    monkeypatch.setattr(tokenizing, "_CHUNK", request.param)
    return int(request.param)


@pytest.mark.parametrize(
    "level, letters_only, lines",
    [
        ("char", False, "spaced"),
        ("char", True, "spaced"),
        ("char", True, "glued"),
        ("word", False, "spaced"),
        ("word", True, "spaced"),
    ],
)
def test_streams_are_those_of_character_corpus(
    tmp_path: Path, cut: int, level: str, letters_only: bool, lines: str
) -> None:
    corpus = write(tmp_path / "texts")
    ids, vocabulary, begins = stream(
        read_documents(corpus), level=level, letters_only=letters_only, lines=lines
    )
    settings: dict[str, Any] = {
        "level": level,
        "letters_only": letters_only,
        "glue_lines": lines == "glued",
    }
    tokens = tokenized(corpus, tmp_path / "a.tokens", sentences=False, **settings)
    assert tokens.vocabulary == vocabulary
    np.testing.assert_array_equal(tokens.ids, ids)
    np.testing.assert_array_equal(tokens.documents, begins)
    assert len(tokens.sentences) == 0
    assert tokens.sha256 == read_documents(corpus).sha256
    # Stopped early, with the vocabulary of what was read; or with another one.
    for most in (2, 7, len(ids) - 1, len(ids), len(ids) + 1):
        if most > len(ids) + 1 or most < 2:
            continue
        short = tokenized(
            corpus, tmp_path / "s.tokens", vocabulary, sentences=False, max_tokens=most, **settings
        )
        np.testing.assert_array_equal(short.ids, ids[:most])
        np.testing.assert_array_equal(short.documents, begins[begins < most])
        own = tokenized(corpus, tmp_path / "s.tokens", sentences=False, max_tokens=most, **settings)
        words = vocabulary.decode(ids[:most])
        assert own.vocabulary.decode(own.read()) == words
        assert own.vocabulary.tokens[1:] == tuple(w for w, _ in Counter(words).most_common())


@pytest.mark.parametrize("seed", range(30))
def test_letters_of_any_text_in_any_pieces(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(seed)
    monkeypatch.setattr(tokenizing, "_CHUNK", rng.randrange(1, 9))
    texts = ["".join(rng.choice("aB-é \n") for _ in range(rng.randrange(1, 30))) for _ in range(4)]
    corpus = write(tmp_path / "texts", (*texts, "z"))
    for level in ("char", "word"):
        for glued in (False, True)[: 1 + (level == "char")]:
            ids, vocabulary, begins = stream(
                read_documents(corpus),
                level=level,
                letters_only=True,
                lines="glued" if glued else "spaced",
            )
            tokens = tokenized(
                corpus, tmp_path / "a.tokens", level=level, letters_only=True, glue_lines=glued
            )
            np.testing.assert_array_equal(tokens.ids, ids)
            assert tokens.vocabulary == vocabulary
            np.testing.assert_array_equal(tokens.documents, begins)
            # Stopped at every place, also in the space that is put between two chunks.
            for most in range(2, len(ids) + 2) if seed < 4 else ():
                short = tokenized(
                    corpus,
                    tmp_path / "a.tokens",
                    vocabulary,
                    level=level,
                    letters_only=True,
                    glue_lines=glued,
                    max_tokens=most,
                )
                np.testing.assert_array_equal(short.ids, ids[:most])
                np.testing.assert_array_equal(short.documents, begins[begins < most])


def test_no_document_begins_behind_the_last_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenizing, "_CHUNK", 1)
    corpus = write(tmp_path / "texts", ("ab", "...", "cd"))
    for most, begins in ((3, [0]), (4, [0, 3])):
        tokens = tokenized(
            corpus, tmp_path / "a.tokens", level="byte", letters_only=True, max_tokens=most
        )
        assert bytes(tokens.read().tolist()) == b"ab cd"[:most]
        assert tokens.documents.tolist() == begins


def test_bytes(tmp_path: Path, cut: int) -> None:
    corpus = write(tmp_path / "texts")
    tokens = tokenized(corpus, tmp_path / "a.tokens", level="byte")
    content = "\n".join(TEXTS).encode()
    assert tokens.read().astype(np.uint8).tobytes() == content
    assert "".join(tokens.vocabulary.decode(tokens.ids)).encode("latin-1") == content
    sizes = [len(text.encode()) + 1 for text in TEXTS[:-1]]
    assert tokens.documents.tolist() == [0, *np.cumsum(sizes)]
    letters = tokenized(corpus, tmp_path / "b.tokens", level="byte", letters_only=True)
    ids, vocabulary, begins = stream(read_documents(corpus), letters_only=True, lines="spaced")
    assert letters.read().astype(np.uint8).tobytes().decode() == "".join(vocabulary.decode(ids))
    np.testing.assert_array_equal(letters.documents, begins)
    with pytest.raises(ValueError, match="--level byte has a vocabulary of its own"):
        tokenized(corpus, tmp_path / "b.tokens", Vocabulary(("a",)), level="byte")


@pytest.mark.parametrize("size", [1, 300, 1 << 18])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"letters_only": True, "sentences": True},
        {"level": "char", "sentences": True},
        {"vocab_size": 20, "language": "german"},
    ],
)
def test_sentences_are_those_of_tokenize_corpus(
    tmp_path: Path, settings: dict[str, Any], size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenizing, "_SLOW_CHUNK", size)
    monkeypatch.setattr("rnn_jax.text.chunks._WINDOW", 250)
    corpus = write(tmp_path / "texts")
    documents = read_documents(corpus)
    options = {k: v for k, v in settings.items() if k in ("level", "letters_only", "language")}
    found = tokenize_corpus(documents, **options)
    vocabulary = reference_vocabulary(found.counts(), settings.get("vocab_size"))
    expected = encode_sentences(found, vocabulary)
    tokens = tokenized(corpus, tmp_path / "a.tokens", **settings)
    assert tokens.vocabulary == vocabulary
    np.testing.assert_array_equal(tokens.ids, expected.stream)
    np.testing.assert_array_equal(tokens.sentences, expected.offsets)
    np.testing.assert_array_equal(tokens.documents, expected.document_begins())
    for most in (1, 3, 5):
        short = tokenized(corpus, tmp_path / "s.tokens", vocabulary, max_sentences=most, **settings)
        part = expected.subset(0, most)
        np.testing.assert_array_equal(short.ids, part.stream)
        np.testing.assert_array_equal(short.sentences, part.offsets)
        np.testing.assert_array_equal(short.documents, part.document_begins())
    cut = tokenized(corpus, tmp_path / "s.tokens", vocabulary, max_tokens=20, **settings)
    np.testing.assert_array_equal(cut.ids, expected.stream[:20])
    np.testing.assert_array_equal(cut.sentences, expected.offsets[expected.offsets <= 20])


def test_the_sample_in_sentences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizing, "_SLOW_CHUNK", 3000)
    found = tokenize_corpus(read_documents("comments-sample"))
    expected = encode_sentences(found, reference_vocabulary(found.counts()))
    tokens = tokenized("comments-sample", tmp_path / "a.tokens")
    np.testing.assert_array_equal(tokens.ids, expected.stream)
    np.testing.assert_array_equal(tokens.sentences, expected.offsets)


def test_a_long_text_is_cut_where_a_sentence_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenizing, "_SLOW_CHUNK", 2000)
    monkeypatch.setattr("rnn_jax.text.chunks._WINDOW", 1000)
    text = " ".join(read_documents("comments-sample").texts)
    corpus = write(tmp_path / "texts", (text,))
    found = tokenize_corpus(read_documents(corpus))
    expected = encode_sentences(found, reference_vocabulary(found.counts()))
    tokens = tokenized(corpus, tmp_path / "a.tokens")
    np.testing.assert_array_equal(tokens.sentences, expected.offsets)
    np.testing.assert_array_equal(tokens.ids, expected.stream)


def test_several_processes_write_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rnn_jax.text.workers._WORTH_SENTENCES", 0)
    monkeypatch.setattr(tokenizing, "_SLOW_CHUNK", 2000)
    limits: dict[str, dict[str, Any]] = {"all": {}, "few": {"max_sentences": 40}}
    for name, limit in limits.items():
        for processes in (1, 2):
            path = tmp_path / f"{name}-{processes}.tokens"
            tokenized("comments-sample", path, processes=processes, **limit).close()
        one, two = (tmp_path / f"{name}-{n}.tokens" for n in (1, 2))
        assert one.read_bytes() == two.read_bytes()


def test_subwords(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = pytest.importorskip("tokenizers")
    monkeypatch.setattr(tokenizing, "_CHUNK", 50)
    tokenizer = library.Tokenizer(library.models.BPE(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = library.trainers.BpeTrainer(special_tokens=["[UNK]"], vocab_size=300)
    tokenizer.train_from_iterator(TEXTS, trainer)
    path = tmp_path / "tokenizer.json"
    tokenizer.save(str(path))
    corpus = write(tmp_path / "texts")
    tokens = tokenized(corpus, tmp_path / "a.tokens", level=f"file:{path}")
    newline = tokenizer.encode("\n").ids
    expected: list[int] = []
    begins: list[int] = []
    for text in TEXTS:
        expected += newline if expected else []
        begins.append(len(expected))
        expected += tokenizer.encode(text).ids
    assert tokens.read().tolist() == expected and tokens.documents.tolist() == begins
    assert len(tokens.vocabulary) == tokenizer.get_vocab_size()
    assert tokens.vocabulary.unknown == 0 and tokens.settings["level"] == "file"
    # What is saved of another use neither cuts the text nor fills it up.
    tokenizer.enable_truncation(2)
    tokenizer.enable_padding(length=60)
    tokenizer.save(str(path))
    tokens = tokenized(corpus, tmp_path / "a.tokens", level=f"file:{path}")
    assert tokens.read().tolist() == expected
    path.write_text("{}")
    with pytest.raises(ValueError, match=r"is not a tokenizer\.json"):
        Tokenizing(level=f"file:{path}").reader()
    with pytest.raises(ValueError, match="cannot be read"):
        Tokenizing(level="file:none.json").reader()


def test_subwords_of_a_file_that_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = pytest.importorskip("tokenizers")
    monkeypatch.setenv("HOME", str(tmp_path))
    path, corpus = tmp_path / "x.json", write(tmp_path / "texts", ("ab",))
    model = library.models.WordLevel({"ab": 0, "?": 1}, unk_token="?")
    library.Tokenizer(model).save(str(path))
    reads: list[Path] = []
    read = Path.read_bytes

    def counted(self: Path) -> bytes:
        reads.append(self)
        return read(self)

    monkeypatch.setattr(Path, "read_bytes", counted)
    tokens = tokenized(corpus, tmp_path / "a.tokens", level="file:~/x.json")
    assert reads == [path] and tokens.read().tolist() == [0]
    record = tmp_path / "a.jsonl"
    record.write_text('{"body": "a\\ud800b"}\n')
    with pytest.raises(ValueError, match=r"half a character, U\+D800, .* --level char or byte"):
        tokenized(str(record), tmp_path / "b.tokens", level=f"file:{path}")
    library.Tokenizer(library.models.BPE()).save(str(path))
    with pytest.raises(ValueError, match="is a tokenizer without tokens: train it"):
        tokenized(corpus, tmp_path / "b.tokens", level=f"file:{path}")


def test_chunks_are_hashed_only_where_reading_may_stop(tmp_path: Path) -> None:
    source, hashes = find_source(write(tmp_path / "texts")), deque[bytes]()
    reader = Tokenizing(level="char").reader()
    assert len(list(tokenizing._work(source, reader, Reading(), None))) == 1 and not hashes
    assert len(list(tokenizing._work(source, reader, Reading(), hashes))) == len(hashes) == 1


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"level": "line"}, "--level line is unknown; choose word, char, byte or file:"),
        ({"level": "byte", "sentences": True}, "--sentences is for --level word and char"),
        ({"level": "byte", "vocab_size": 9}, "--vocab-size is fixed by --level byte"),
        ({"level": "file:a", "letters_only": True}, "--letters-only would change"),
        ({"glue_lines": True}, "--glue-lines is for"),
        ({"level": "char", "max_sentences": 1}, "--max-sentences counts sentences"),
        ({"level": "char", "language": "german"}, "--language german is that of"),
        ({"max_tokens": 1}, "--max-tokens must be at least 2"),
        ({"vocab_size": 10_000}, "--vocab-size 10000 does not fit"),
        ({"vocab_size": 10_000, "level": "char"}, "--vocab-size 10000 does not fit"),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        tokenized(write(tmp_path / "texts"), tmp_path / "a.tokens", **settings)
    assert not (tmp_path / "a.tokens").exists()


def test_what_cannot_be_read_leaves_nothing(tmp_path: Path) -> None:
    corpus = write(tmp_path / "texts")
    (tmp_path / "texts" / "9.txt").write_bytes(b"a\xff")
    with pytest.raises(ValueError, match=r"9\.txt is not UTF-8: .* at offset 1"):
        tokenized(corpus, tmp_path / "out" / "a.tokens", level="char")
    assert not list((tmp_path / "out").iterdir())
    dots = write(tmp_path / "b", ("...",))
    with pytest.raises(ValueError, match="contains no letters"):
        tokenized(dots, tmp_path / "a.tokens", level="char", letters_only=True)
    with pytest.raises(ValueError, match=r"'\.' is not in the vocabulary of 1 tokens"):
        tokenized(dots, tmp_path / "a.tokens", Vocabulary(("x",)), level="char")
    assert not (tmp_path / "a.tokens").exists()


def test_tokens_outside_a_vocabulary_are_named(tmp_path: Path) -> None:
    corpus = write(tmp_path / "texts", ("abcabd",))
    tokens = tokenized(corpus, tmp_path / "a.tokens", Vocabulary(("a", "b", "?"), 2), level="char")
    assert tokens.read().tolist() == [0, 1, 2, 0, 1, 2]
    assert tokens.description["source"]["strange"] == ["c", "d"]
    cut = tokenized(corpus, tmp_path / "b.tokens", level="char", vocab_size=3)
    ids, found = character_corpus(["abcabd"], letters_only=False)
    assert cut.vocabulary == most_frequent(found, 3)
    assert cut.read().tolist() == np.where(ids < 3, ids, 0).tolist()


PARTS = (
    *"ab'\" ,.:;-()[]$3%é!?*&{}<>²_\t\n`«“”’‘\u2014\u00a0\u3000\u0301İ",
    *("''", "``", "..", "--", "'s", "n't", "'ll", "can", "not", "cannot", "wanna", "GIMME", " 't"),
    *("is", "d'ye", "more'n", "word", "Word.", "3,000", "a.b."),
)


@pytest.mark.parametrize("word", ["house", "3", "a1", "cannot", "Gonna", "can", "n", "s", "dr"])
def test_marks_behind_a_word_are_taken_off_as_nltk_does(word: str) -> None:
    words = Words()
    for mark in (*",;:?!.", "", "?!", ",,", ".,"):
        for form in ("{} x", "x {} x", "x {}", "{} {} {}"):
            sentence = form.format(*[word + mark] * 3)
            assert words(sentence) == tokenize_words(sentence), repr(sentence)


@pytest.mark.parametrize("seed", range(8))
def test_words_looked_up_are_those_of_nltk(seed: int) -> None:
    rng, words = random.Random(seed), Words()
    for _ in range(250):
        sentence = "".join(rng.choice(PARTS) for _ in range(rng.randrange(1, 14)))
        assert words(sentence) == tokenize_words(sentence), repr(sentence)
