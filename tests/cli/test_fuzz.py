"""Whatever is typed, the outcome is success or one sentence, and no half-made run: a fuzz."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from rnn_jax.cli import main

ROOT = Path(__file__).parents[2]
# Every option with values that are good, and values that are odd.
TRAIN: dict[str, tuple[list[str], list[str]]] = {
    "--corpus": (["a.txt", "b.csv", "c.csv"], ["", ".", "none.txt", "empty.txt", "odd.csv", "\0"]),
    "--column": (["body", "text"], ["", "bod", "ü"]),
    "--max-sentences": (["7", "40"], ["0", "-1", "1", "1e3", "99999999999999999999", "²"]),
    "--max-tokens": (["90", "300"], ["0", "1", "2", "3", "x", "-0", "99999999999999999999"]),
    "--level": (["word", "char"], ["", "line", "WORD"]),
    "--max-length": (["9", "1000"], ["0", "1", "-5", "99999999999999999999"]),
    "--language": (["english", "german"], ["", "klingon", "../english"]),
    "--vocab-size": (["9", "30"], ["0", "1", "2", "4", "5", "-7", "99999999999999999999"]),
    "--held-out": (["0", "0.2"], ["1", "-0.1", "nan", "inf", "0.9999", "1e-300", "half"]),
    "--cell": (["tanh", "lstm", "gru", "lru", "min-lstm", "echo-state"], ["", "GRU", "lstm "]),
    "--proj-size": (["2"], ["0", "-1", "9" * 30, "2.5"]),
    "--weight-drop": (["0", "0.3"], ["1", "-1", "nan"]),
    "--zoneout": (["0", "0.3"], ["1", "-1", "nan"]),
    "--zoneout-cell": (["0.3"], ["1", "-1", "nan"]),
    "--momentum": (["0.9"], ["1", "-1", "nan"]),
    "--weight-decay": (["0", "0.1"], ["-1", "nan", "inf", "1e999"]),
    "--accumulate": (["1", "2"], ["0", "-1", "9" * 30]),
    "--average": (["none", "ema:0.9", "asgd:1"], ["", "ema", "ema:2", "asgd:x", "asgd:-1"]),
    "--min-lr": (["0"], ["-1", "nan", "1"]),
    "--config": (["a.toml"], ["", "none.toml", "a.txt", ".", "\0"]),
    "--hidden-size": (["3", "5"], ["0", "-1", "1000000000", "2147483648", "9" * 30, "3.0"]),
    "--num-layers": (["1", "2"], ["0", "-1", "1001", "1000000000"]),
    "--embedding-size": (["0", "4"], ["-1", "1000000000", "2147483647", "9" * 30]),
    "--softmax": (
        ["full", "adaptive:3,6", "sampled:4"],
        ["", "adaptive", "adaptive:6,3", "adaptive:3,99999", "sampled:0", "sampled:99999", "x"],
    ),
    "--dropout": (["0", "0.3"], ["1", "-1", "nan", "0.999999999999"]),
    "--bptt": (
        ["full", "chunked:3", "sliding:2"],
        ["", "tail:", "tail:-1", "randomized:nan", ":4"],
    ),
    "--batching": (["sentences", "sequential", "random"], ["", "none"]),
    "--batch-size": (["1", "4"], ["0", "-1", "1000", "1000000000", "9" * 30]),
    "--seq-length": (["1", "6"], ["0", "-1", "1000", "1000000000", "9" * 30]),
    "--optimizer": (["sgd", "adam"], ["", "lion"]),
    "--lr": (["0.01", "1"], ["0", "-1", "nan", "inf", "1e38", "1e-320", "1e999"]),
    "--clip": (["0", "1"], ["-1", "nan", "inf", "1e-320", "1e308"]),
    "--epochs": (["0", "1"], ["-1", "x"]),
    "--steps": (["0", "3"], ["-1", "x", "1.5"]),
    "--evaluate-every-steps": (["1", "2"], ["0", "-1"]),
    "--early-stop": (["1", "2"], ["0", "-1"]),
    "--save-every": (["1", "1e-9"], ["0", "-1", "nan"]),
    "--keep": (["1", "3"], ["0", "-1", "x"]),
    "--schedule": (
        ["constant", "halve", "step", "exponential", "cosine", "plateau"],
        ["", "linear"],
    ),
    "--warmup": (["0.5"], ["-1", "nan", "inf"]),
    "--decay-every": (["0.5", "2"], ["0", "-1", "nan"]),
    "--decay-factor": (["0.9"], ["0", "1", "nan"]),
    "--plateau-patience": (["1"], ["0", "-1"]),
    "--label-smoothing": (["0.1"], ["1", "-1", "nan"]),
    "--dtype": (["float32", "bfloat16"], ["", "float8"]),
    "--evaluate-every": (["1", "3"], ["0", "-1", "99999999999999999999"]),
    "--seed": (["0", "4294967295"], ["-1", "4294967296", "x"]),
}
FLAGS = [
    *("--letters-only", "--glue-lines", "--no-bias", "--reset-at-documents", "--force", "--remat"),
    *("--layer-norm", "--learned-carry", "--residual", "--tied", "--variational-dropout"),
]
SAMPLE: dict[str, tuple[list[str], list[str]]] = {
    "--prefix": (["the", "i like"], ["", " ", "\0", "Ж", "SENTENCE_END", "UNKNOWN_TOKEN", "--"]),
    "--count": (["1", "40"], ["0", "-1", "2000000000", "9" * 30]),
    "--length": (["1", "9"], ["0", "-1", "2000000000", "9" * 30]),
    "--temperature": (["0", "1", "2"], ["-1", "nan", "inf", "1e-320", "1e308"]),
    "--top-k": (["1", "3"], ["0", "-1", "1000000", "9" * 30]),
    "--top-p": (["0", "0.5", "1"], ["-1", "nan", "1.1", "1e-320"]),
    "--min-length": (["0", "1"], ["-1", "10", "9" * 30]),
    "--seed": (["0", "7"], ["-1", "4294967296"]),
}
GRADCHECK: dict[str, tuple[list[str], list[str]]] = {
    "--vocab-size": (["5", "7"], ["4", "-1", "10000000000", "9" * 30]),
    "--num-layers": (["1"], ["0", "1000000000"]),
    **{
        name: TRAIN[name]
        for name in (
            "--cell",
            "--embedding-size",
            "--hidden-size",
            "--bptt",
            "--proj-size",
            "--softmax",
        )
    },
}
SMALL = [
    "--hidden-size",
    "3",
    "--embedding-size",
    "4",
    "--batch-size",
    "2",
    "--seq-length",
    "6",
]
NONSENSE = [
    "evaluate run --json",
    "evaluate ",
    "evaluate",
    "evaluate a.txt",
    "recipe none",
    "sample run run",
    "train --epochs",
    "-x",
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with texts and a run."""
    words = "The cat saw a dog. It ran! Did the dog see it? A bird sang, and the cat slept. " * 5
    (tmp_path / "a.txt").write_text(words)
    (tmp_path / "a.toml").write_text("dropout = 0.1\nhidden-size = 4\n")
    (tmp_path / "b.csv").write_text("body,other\n" + '"I like it. You do not.",x\n' * 20)
    (tmp_path / "c.csv").write_text("text\n" + "rain fell on the sea\n" * 20)
    (tmp_path / "odd.csv").write_text('body\n"never closed\n')
    (tmp_path / "empty.txt").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RNN_JAX_DATA", str(ROOT / "data"))
    first = ["train", "--corpus", "a.txt", "--out", "run", "--epochs", "1", "--no-compare"]
    assert main([*first, *SMALL]) == 0
    return tmp_path


def drawn(draw: random.Random, options: dict[str, tuple[list[str], list[str]]]) -> list[str]:
    """A few options, now and then one with an odd value."""
    names = draw.sample(sorted(options), draw.randint(1, 5))
    odd = draw.choice([*names, None])
    return [word for name in names for word in (name, draw.choice(options[name][name == odd]))]


def command(draw: random.Random) -> list[str]:
    kind = draw.choice(["train"] * 6 + ["resume", "sample", "sample", "gradcheck", "nonsense"])
    if kind == "train":
        flags = [flag for flag in FLAGS if draw.random() < 0.15]
        out = draw.choice(["new", "new", "run", "a.txt", "deep/er", "", "\0"])
        given = drawn(draw, TRAIN)
        bound = ["--epochs", "1"] if "--steps" not in given or draw.random() < 0.1 else []
        given = [*SMALL, *bound, *given, *flags]
        return ["train", "--corpus", "a.txt", *given, "--out", out, "--no-compare"]
    if kind == "resume":
        names = ("--epochs", "--steps", "--evaluate-every", "--early-stop", "--lr", "--seed")
        given = drawn(draw, {name: TRAIN[name] for name in names})
        folder = draw.choice(["run", "run", "none", "", "."])
        return ["train", "--resume", folder, *given, "--no-compare"]
    if kind == "sample":
        return ["sample", draw.choice(["run"] * 9 + ["none", ""]), *drawn(draw, SAMPLE)]
    if kind == "gradcheck":
        small = ["--vocab-size", "5", "--hidden-size", "3"]
        return ["gradcheck", *small, *drawn(draw, GRADCHECK)]
    return draw.choice(NONSENSE).split(" ")


def contents(folder: Path) -> dict[Path, bytes | None]:
    return {p: p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


def fault(arguments: list[str], here: Path, capsys: pytest.CaptureFixture[str]) -> str | None:
    """What is wrong with the outcome of a command; None if nothing is."""
    before = contents(here)
    capsys.readouterr()
    code = main(arguments)
    error = capsys.readouterr().err
    said = [line for line in error.splitlines() if not line.startswith("rnn-jax: warning: ")]
    if code == 2:
        if len(said) != 1 or not said[0].startswith("rnn-jax: ") or len(said[0]) > 600:
            return f"not one sentence: {error}"
        # A run that diverges keeps what it had learned before.
        if contents(here) != before and "keeps the state after step" not in error:
            return f"files changed, though it was refused: {error}"
        return None
    failed_check = code == 1 and arguments[0] == "gradcheck"  # a truncation, as it must
    if said or (code and not failed_check):
        return f"exit code {code}: {error}"
    if arguments[0] == "train" and "--out" in arguments:
        out = arguments[arguments.index("--out") + 1]
        if main(["evaluate", out, "--json"]):
            return f"the run cannot be evaluated: {capsys.readouterr().err}"
        if out != "run":
            shutil.rmtree(here / out.split("/")[0])
    return None


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("seed", range(2))
def test_success_or_one_sentence(seed: int, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw, failures = random.Random(seed), []
    for _ in range(25):
        arguments = command(draw)
        try:
            found = fault(arguments, here, capsys)
        except BaseException as error:  # SystemExit as well
            found = f"{type(error).__name__}: {error}"
        if found:
            failures.append(f"{arguments}: {found}")
    assert not failures, "\n".join(failures)
