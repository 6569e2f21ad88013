"""The command line, run in this process: what it prints, what it refuses and what it leaves."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import rnn_jax
from rnn_jax.cli import main

ROOT = Path(__file__).parents[2]
SIZES = "--epochs 1 --hidden-size 8 --embedding-size 6 --batch-size 4 --seq-length 10"
TRAIN = shlex.split(f"train --corpus comments-sample {SIZES} --no-compare")


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = str(tmp_path_factory.mktemp("cli") / "run")
    assert main([*TRAIN, "--out", folder]) == 0
    return folder


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one sentence on stderr of a command that must end with exit code 2."""
    assert main(list(arguments)) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("rnn-jax: ") and captured.err.count("\n") == 1
    return captured.err


def test_train_writes_all_it_promises(run_folder: str) -> None:
    names = {path.name for path in Path(run_folder).iterdir()}
    assert names == {
        "best.safetensors",
        "checkpoint-0.safetensors",
        "config.json",
        "metrics.jsonl",
        "vocabulary.json",
        "samples.txt",
        "parameters.safetensors",
        "checkpoint.safetensors",
        "loss.png",
    }
    assert len((Path(run_folder) / "samples.txt").read_text().splitlines()) == 10


def test_train_prints_parameters_perplexities_samples_and_the_comparison(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rnn_jax.cli.one_run.compare_step_time", lambda: "31 times faster")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RNN_JAX_DATA", str(ROOT / "data"))
    assert main([word for word in TRAIN if word != "--no-compare"]) == 0
    printed = capsys.readouterr().out
    folder = next((tmp_path / "runs").iterdir())
    assert "unigram perplexity" in printed and "parameters in all" in printed
    assert "31 times faster" in printed and f"rnn-jax sample runs/{folder.name}" in printed
    assert (folder / "samples.txt").read_text() in printed


def test_evaluate_agrees_with_the_metrics(
    run_folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", run_folder, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    row = json.loads((Path(run_folder) / "metrics.jsonl").read_text().splitlines()[-1])
    assert result["loss"] == pytest.approx(row["loss"], rel=1e-6)
    assert result["perplexity"] == pytest.approx(row["perplexity"], rel=1e-5)
    assert main(["evaluate", run_folder]) == 0
    assert "held-out text" in capsys.readouterr().out


def test_sample_keeps_its_rules(run_folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--count", "5", "--length", "400", "--min-length", "9", "--seed", "3"]
    outputs = []
    for _ in range(2):
        assert main(["sample", run_folder, "--prefix", "I Like", *options]) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1]
    lines = outputs[0].splitlines()
    assert len(lines) == 5
    for line in lines:
        assert line.startswith("i like ") and len(line.split()) >= 9
        assert not {"UNKNOWN_TOKEN", "SENTENCE_START", "SENTENCE_END"} & set(line.split())
    assert main(["sample", run_folder, "--temperature", "0", "--count", "2"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == second
    likeliest = ["--count", "1", "--length", "5", "--top-k", "1", "--top-p", "0.5"]
    assert main(["sample", run_folder, *likeliest]) == 0
    assert first.startswith(capsys.readouterr().out.strip("\n …"))
    assert main(["sample", run_folder, "--length", "3", "--min-length", "3", "--count", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [len(line.removesuffix(" …").split()) for line in lines] == [3, 3, 3]


def test_characters_are_continued(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(tmp_path / "run")
    options = shlex.split(
        f"--level char --letters-only --max-tokens 800 --cell lstm --out {folder}"
    )
    assert main([*TRAIN, *options]) == 0
    capsys.readouterr()
    assert main(["sample", folder, "--prefix", "Time", "--length", "30", "--count", "1"]) == 0
    printed = capsys.readouterr().out.removesuffix("\n")
    assert len(printed) == 34 and printed.startswith("time")


def test_resume_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(tmp_path / "run")
    assert main([*TRAIN, "--max-sentences", "60", "--out", folder]) == 0
    assert main(["train", "--resume", folder, "--epochs", "2", "--no-compare"]) == 0
    rows = [json.loads(s) for s in (Path(folder) / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [0, 1, 2]
    capsys.readouterr()
    # As after a kill: an evaluation was written, and no checkpoint since.
    told = {**rows[-1], "step": rows[-1]["step"] + 5, "epoch": 2.5}
    told.pop("checksum")
    with (Path(folder) / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(told) + "\n")
    assert main(["train", "--resume", folder, "--no-compare"]) == 0
    printed = capsys.readouterr().out
    assert "nothing was left to train: for more, give a larger --epochs or --steps" in printed
    assert f"what was told of steps after it, up to {told['step']}, is dropped" in printed
    sentence = refusal(capsys, "train", "--resume", folder, "--hidden-size", "9")
    assert "--hidden-size cannot change" in sentence
    assert "below the 2" in refusal(capsys, "train", "--resume", folder, "--epochs", "1")
    assert "leave out --out" in refusal(capsys, "train", "--resume", folder, "--out", "elsewhere")


def test_gradcheck_passes_and_fails_where_it_must(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gradcheck", "--vocab-size", "8", "--hidden-size", "3"]) == 0
    assert "w_hh: 9 parameters" in capsys.readouterr().out
    assert main(["gradcheck", "--vocab-size", "8", "--hidden-size", "3", "--bptt", "tail:1"]) == 1
    assert "gradient check failed at" in capsys.readouterr().out
    options = [
        "--embedding-size",
        "2",
        "--bias",
        "--num-layers",
        "2",
        "--cell",
        "sigmoid",
        "--bptt",
        "full",
    ]
    assert main(["gradcheck", "--vocab-size", "6", "--hidden-size", "3", *options]) == 0
    capsys.readouterr()
    learned = shlex.split("--cell lstm --learned-carry --bptt full")
    assert main(["gradcheck", "--vocab-size", "6", "--hidden-size", "3", *learned]) == 0
    assert "layer.carry.c: 3 parameters" in capsys.readouterr().out
    clusters = shlex.split("--softmax adaptive:2,4 --bptt full")
    assert main(["gradcheck", "--vocab-size", "6", "--hidden-size", "3", *clusters]) == 0
    assert "readout.tails.1.down: 3 parameters" in capsys.readouterr().out


@pytest.mark.parametrize(
    "options, sentence",
    [
        ("--corpus nowhere.txt", "--corpus nowhere.txt does not exist"),
        ("--corpus unheard-of", "--corpus unheard-of is unknown"),
        ("--corpus empty.txt", "empty"),
        ("--corpus blank.csv", "column"),
        ("--corpus bytes.txt", "UTF-8"),
        ("--corpus table.csv --column text", "--column"),
        ("--vocab-size 0", "--vocab-size must be at least 2"),
        ("--vocab-size 1", "--vocab-size must be at least 2"),
        ("--vocab-size 100000", "--vocab-size 100000 does not fit"),
        ("--hidden-size -3", "--hidden-size must be at least 1"),
        ("--num-layers 0", "--num-layers must be at least 1"),
        ("--embedding-size -1", "--embedding-size must be at least 0"),
        ("--seq-length 0", "--seq-length must be at least 1"),
        ("--lr nan", "--lr must be finite"),
        ("--lr 0", "--lr must be finite and above 0"),
        ("--clip inf", "--clip must be finite"),
        ("--bptt sliding", "--bptt 'sliding' is not a truncation"),
        ("--bptt adaptive:0.1 --level char --reset-at-documents", "--bptt adaptive measures"),
        ("--bptt tail:0", "--bptt 'tail:0' is not a truncation"),
        ("--bptt adaptive:2", "--bptt the bound on the relative bias must lie in (0, 1), not 2.0"),
        ("--bptt randomized:2", "--bptt 'randomized:2' is not a truncation"),
        ("--batch-size 5000", "shorter than one batch"),
        ("--held-out 1", "--held-out must be at least 0 and below 1"),
        ("--cell lstn", "--cell must be one of"),
        ("--level line", "--level"),
        ("--epochs many", "--epochs"),
        ("--no-such-flag", "--no-such-flag"),
        ("--level char --max-sentences 5", "--max-tokens"),
        ("--level char --max-length 5", "--max-length 5 limits sentences"),
        ("--letters-only --max-length 5", "--max-length 5 limits sentences"),
        ("--glue-lines", "--glue-lines is for --letters-only and --level char"),
        ("--out taken.txt", "taken.txt"),
        ("--out taken.txt/below", "cannot be written"),
        ("--out full", "exists already"),
        ("--out full --force", "--force replaces only the folder of a run"),
        ("--resume full", "not the folder of a run"),
        ("--resume missing", "not the folder of a run"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(
    options: str,
    sentence: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "empty.txt").touch()
    (tmp_path / "blank.csv").write_text("other\nx\n")
    (tmp_path / "bytes.txt").write_bytes(b"caf\xe9")
    (tmp_path / "table.csv").write_text("body\nHello there.\n")
    (tmp_path / "taken.txt").write_text("kept")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "kept").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RNN_JAX_DATA", str(ROOT / "data"))
    before = sorted(tmp_path.rglob("*"))
    arguments = ["train", *options.split()]
    if "--corpus" not in options and "--resume" not in options:
        arguments += ["--corpus", "comments-sample"]
    assert sentence in refusal(capsys, *arguments)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        ("evaluate missing", "not the folder of a run"),
        ("sample missing", "not the folder of a run"),
        ("sample {run} --temperature nan", "temperature must be finite"),
        ("sample {run} --count 0", "count must be an integer of at least 1"),
        ("sample {run} --min-length -1", "min_length must be"),
        ("sample {run} --min-length 9 --length 8", "min_length 9 exceeds the length 8"),
        ("sample {run} --top-k 0", "top_k must be an integer of at least 1"),
        ("sample {run} --top-p 1.5", "top_p must lie in 0 … 1"),
        ("gradcheck --vocab-size 4", "--vocab-size must be at least 5"),
        ("gradcheck --bptt no", "--bptt"),
        ("gradcheck --cell echo-state", "--cell echo-state is fixed"),
        ("gradcheck --tied", "--tied takes an embedding of the size of the outputs"),
        ("gradcheck --softmax adaptive", "--softmax adaptive is for vocabularies of 1000 words"),
        ("gradcheck --softmax adaptive:5,100", "the last cutoff must be below 100"),
        ("unknown-command", "unknown-command"),
    ],
)
def test_bad_input_elsewhere(
    arguments: str, sentence: str, run_folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert sentence in refusal(capsys, *arguments.format(run=run_folder).split())


def test_an_unwritable_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(0o500)
    if os.access(locked, os.W_OK):  # an administrator may write anywhere: take what nobody can
        locked = Path("/proc")
    sentence = refusal(capsys, *TRAIN, "--out", str(locked / "run"))
    assert "cannot be written to" in sentence and "choose another folder" in sentence


def test_alone_it_prints_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("Usage: ") and not printed.err


def test_python_dash_m_is_the_command() -> None:
    command = [sys.executable, "-m", "rnn_jax", "train", "--lr", "nan"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "rnn-jax: --lr must be finite and above 0, not nan\n"
    assert rnn_jax.__version__
