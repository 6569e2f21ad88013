"""``--config``: settings from a file, the flags that win over it, and what is wrong in one."""

from __future__ import annotations

import json
import shlex
import tomllib
from pathlib import Path

import pytest

from rnn_jax.cli import main
from rnn_jax.runs.settings import TrainConfig
from tests.cli.test_cli import refusal

SMALL = """\
corpus = "comments-sample"
max-sentences = 60
hidden-size = 8
embedding_size = 8
batch_size = 4
seq_length = 10
cell = "lstm"
num_layers = 2
dropout = 0.2
variational_dropout = true
weight_drop = 0.3
zoneout = 0.1
tied = true
residual = true
lr = 1  # an integer is a number, too
optimizer = "sgd"
epochs = 1
"""


def saved(folder: Path) -> dict[str, object]:
    settings: dict[str, object] = json.loads((folder / "config.json").read_text())["config"]
    return settings


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.toml").write_text(SMALL)
    return tmp_path


def test_a_run_from_a_file_and_one_from_its_config_json(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = shlex.split("train --no-compare --config run.toml --seed 3 --cell gru --out one")
    assert main(train) == 0
    one = saved(here / "one")
    wanted = {"cell": "gru", "seed": 3, "hidden_size": 8, "lr": 1.0, "tied": True, "epochs": 1}
    assert {name: one[name] for name in wanted} == wanted
    assert main(shlex.split("train --no-compare --config one/config.json --out two")) == 0
    assert saved(here / "two") == one
    rows = [(here / name / "metrics.jsonl").read_text().splitlines()[-1] for name in ("one", "two")]
    assert json.loads(rows[0])["loss"] == json.loads(rows[1])["loss"]
    assert main(["sample", "two", "--count", "1"]) == 0
    assert main(["evaluate", "two"]) == 0


def test_a_file_of_all_settings_is_printed_and_read(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(shlex.split("config --config run.toml --schedule cosine --corpus 'a\"b\\c'")) == 0
    printed = capsys.readouterr().out
    assert "\n# Text\n" in printed and "\n# Model\n" in printed and "# max_tokens =\n" in printed
    settings = tomllib.loads(printed)
    expected = {**tomllib.loads(SMALL.replace("-", "_").replace("comments_s", "comments-s"))}
    expected |= {"schedule": "cosine", "corpus": 'a"b\\c'}
    assert TrainConfig(**settings) == TrainConfig(**expected)
    (here / "all.toml").write_text(printed)
    assert main(["config", "--config", "all.toml"]) == 0
    assert capsys.readouterr().out == printed


def test_of_two_alternatives_the_flag_wins(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(shlex.split("config --config run.toml --steps 9")) == 0
    settings = tomllib.loads(capsys.readouterr().out)
    assert settings["steps"] == 9 and "epochs" not in settings
    assert "--epochs and --steps" in refusal(capsys, *shlex.split("config --epochs 1 --steps 9"))


def test_what_a_file_sets_counts_as_given(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(shlex.split("train --no-compare --config run.toml --out run")) == 0
    (here / "more.toml").write_text("epochs = 2\n")
    assert main(shlex.split("train --no-compare --resume run --config more.toml")) == 0
    assert saved(here / "run")["epochs"] == 2
    (here / "more.toml").write_text("epochs = 3\nhidden_size = 9\n")
    sentence = refusal(capsys, *shlex.split("train --resume run --config more.toml"))
    assert "--hidden-size cannot change" in sentence


@pytest.mark.parametrize(
    "name, content, sentence",
    [
        ("a.toml", "hiden_size = 8", "a.toml: hiden_size is no setting, did you mean hidden_size?"),
        ("a.toml", "zzz = 8", "a.toml: zzz is no setting: rnn-jax config lists those there are"),
        ("a.toml", "out = 'x'", "a.toml: out is no setting: give --out on the command line"),
        ("a.toml", "[model]\ncell = 'gru'", "a.toml: [model] is a table: write all settings at"),
        ("a.toml", "hidden_size = 8.0", "a.toml: hidden_size must be an integer, not 8.0"),
        ("a.toml", "hidden_size = true", "a.toml: hidden_size must be an integer, not true"),
        ("a.toml", "hidden_size = '8'", 'a.toml: hidden_size must be an integer, not "8"'),
        ("a.toml", "dropout = 'some'", 'a.toml: dropout must be a number, not "some"'),
        ("a.toml", "tied = 1", "a.toml: tied must be true or false, not 1"),
        (
            "a.toml",
            "corpus = 1979-05-27",
            "corpus must be a text in quotes or a list of them, not 1979",
        ),
        ("a.toml", "level = 'line'", "a.toml: --level line is unknown; choose word, char, byte"),
        ("a.toml", "lr = [1]", "a.toml: lr must be a number, not [1]"),
        ("a.toml", "seed = 1\nse-ed = 1", "a.toml: se-ed is no setting, did you mean seed?"),
        ("a.toml", "batch_size = 1\nbatch-size = 2", "batch-size is given twice, with - and with"),
        ("a.toml", "hidden_size = 0", "a.toml: --hidden-size must be at least 1, not 0"),
        ("a.toml", "lr = nan", "a.toml: --lr must be finite and above 0, not nan"),
        ("a.toml", "bidirectional = true", "a.toml: bidirectional: a model that predicts the next"),
        ("a.toml", "seed 3", "--config a.toml is not TOML:"),
        ("a.json", "{", "--config a.json is not JSON:"),
        ("a.json", "[1]", "--config a.json holds no settings"),
        ("a.json", '{"hidden_size": null}', "a.json: hidden_size must be an integer, not null"),
        ("a.json", '{"config": {"seed": 1}, "checksum": "x"}', "--config a.json is damaged or was"),
        ("b.toml", "", "--config a.toml cannot be read (No such file or directory)"),
    ],
)
def test_a_wrong_file_is_one_sentence(
    name: str, content: str, sentence: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / name).write_text(content)
    path = name.replace("b.", "a.")
    before = sorted(here.rglob("*"))
    assert sentence in refusal(capsys, "train", "--config", path, "--out", "run")
    assert sorted(here.rglob("*")) == before


def test_other_files_and_a_wrong_flag_beside_a_sound_one(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refusal(capsys, *shlex.split("config --config run.toml --hidden-size 0")) == (
        "rnn-jax: --hidden-size must be at least 1, not 0\n"
    )
    (here / "bytes.toml").write_bytes(b"corpus = '\xff'")
    assert "it is not UTF-8" in refusal(capsys, "config", "--config", "bytes.toml")
    assert "cannot be read (Is a directory)" in refusal(capsys, "config", "--config", ".")
    (here / "null.json").write_text('{"max-length": null, "lr": null, "seed": 4}')
    assert main(["config", "--config", "null.json"]) == 0
    assert "\nseed = 4\n" in capsys.readouterr().out


def test_an_old_config_json_is_completed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = {"config": {"letters_only": True, "level": "char", "seed": 5}}
    (here / "old.json").write_text(json.dumps(old))
    assert main(["config", "--config", "old.json"]) == 0
    settings = tomllib.loads(capsys.readouterr().out)
    assert settings["glue_lines"] is True and settings["seed"] == 5  # as that version read lines


def test_no_next_token_model_reads_both_ways(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "predicts the next token must not read it" in refusal(capsys, "train", "--bidirectional")
    assert main(["train", "--help"]) == 0
    printed = capsys.readouterr().out
    assert "bidirectional" not in printed
    order = [printed.index(f"\n{section}:\n") for section in ("Text", "Model", "Optimisation")]
    assert order == sorted(order)


def test_recipes_read_settings_from_a_file(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "recipe.toml").write_text("hidden_sise = 4")
    arguments = ("recipe", "binary-addition", "--config", "recipe.toml")
    assert "did you mean hidden_size?" in refusal(capsys, *arguments)
