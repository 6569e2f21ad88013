"""The folder of a training run: what is written there, whole or not at all, and read back."""

from __future__ import annotations

import dataclasses
import itertools
import json
import platform
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from rnn_jax.host.files import Row, atomic_path, reason
from rnn_jax.interop import load_params, save_params
from rnn_jax.runs.config import TrainConfig, make_model
from rnn_jax.text import Vocabulary
from rnn_jax.types import Model, Params

__all__ = ["RunFolder", "create_folder", "open_folder"]

_FORMAT = "rnn_jax run 1"
_FILES = (
    "config.json",
    "metrics.jsonl",
    "vocabulary.json",
    "samples.txt",
    "parameters.safetensors",
    "loss.png",
    "checkpoint.safetensors",
)


@dataclass(frozen=True)
class RunFolder:
    """Paths and readers of one run; made by `create_folder` or `open_folder`."""

    path: Path

    @cached_property
    def config(self) -> TrainConfig:
        """The run's configuration."""
        try:
            return TrainConfig(**self._content["config"])
        except (TypeError, ValueError) as error:
            raise ValueError(f"{self.path}/config.json is broken: {error}") from None

    @property
    def corpus_sha256(self) -> str:
        """The hash of the text that the run was trained on."""
        sha256: str = self._content["corpus_sha256"]
        return sha256

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The run's vocabulary."""
        return Vocabulary.load(self.path / "vocabulary.json")

    @cached_property
    def model(self) -> Model:
        """The run's model, not truncated."""
        return make_model(self.config, len(self.vocabulary))

    def load_parameters(self, *, like: Params = None) -> Params:
        """The latest parameters; ``like`` are some of the same model, if there are any."""
        if like is None:
            like = jax.eval_shape(self.model.init, jax.random.key(0))
        file = self.path / "parameters.safetensors"
        params = load_params(file, like=like)
        for keys, leaf in jax.tree.leaves_with_path(params):
            if not jnp.isfinite(leaf).all():
                name = jax.tree_util.keystr(keys, simple=True, separator=".")
                raise ValueError(
                    f"{file} holds NaN or infinite weights in {name}: the run has diverged or the "
                    "file is damaged; train anew with a lower --lr or --clip"
                )
        return params

    def save_parameters(self, params: Params) -> None:
        """Put the latest parameters in place of the ones before."""
        save_params(self.path / "parameters.safetensors", params)

    def load_checkpoint(self, like: Any) -> Any:
        """The training state to go on from, in the structure of ``like``."""
        return load_params(self.path / "checkpoint.safetensors", like=like)

    def save_checkpoint(self, tree: Any) -> None:
        """Put the training state in place of the one before."""
        save_params(self.path / "checkpoint.safetensors", tree)

    def save_settings(
        self, config: TrainConfig, vocabulary: Vocabulary, sha256: str, origin: str
    ) -> None:
        """Write ``config.json`` and ``vocabulary.json``."""
        content = {
            "format": _FORMAT,
            "config": dataclasses.asdict(config),
            "vocab_size": len(vocabulary),
            "corpus_sha256": sha256,
            "corpus_origin": origin,
            "python": platform.python_version(),
            "versions": {name: version(name) for name in ("jax", "jaxlib", "numpy", "optax")},
            "device": jax.devices()[0].device_kind,
            "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        }
        vocabulary.save(self.path / "vocabulary.json")
        self.write_text("config.json", json.dumps(content, indent=2, ensure_ascii=False) + "\n")

    def write_text(self, name: str, text: str) -> None:
        """Write a file of the run, whole or not at all."""
        with atomic_path(self.path / name) as temporary:
            temporary.write_text(text, encoding="utf-8")

    def read_metrics(self) -> list[Row]:
        """The rows of ``metrics.jsonl``, a last one that was cut off left out."""
        rows = []
        try:
            lines = (self.path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        for line in lines:
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                break
            if not isinstance(row, dict) or not {"epoch", "step", "loss"} <= set(row):
                break
            rows.append(row)
        return rows

    def write_metrics(self, rows: list[Row]) -> None:
        """Write all rows of ``metrics.jsonl``."""
        self.write_text("metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows))

    @cached_property
    def _content(self) -> Row:
        file = self.path / "config.json"
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            known = {field.name for field in dataclasses.fields(TrainConfig)}
            good = content["format"] == _FORMAT and set(content["config"]) == known
            good = good and isinstance(content["corpus_sha256"], str)
        except (OSError, ValueError, KeyError, TypeError):
            good = False
        if not good:
            raise ValueError(
                f"{self.path} is not the folder of a run: its config.json is missing, broken or of "
                "another version; give a folder that rnn-jax train wrote"
            )
        return dict(content)


def create_folder(out: str | None, *, force: bool = False) -> RunFolder:
    """A new, empty folder for a run.

    Args:
      out: its path, or None for a new one under ``runs/`` named by the time.
      force: replace the run that is there already.

    Raises:
      ValueError: the folder exists and holds something, or cannot be written to.
    """
    try:
        if out is None:
            return RunFolder(_make_new())
        path = Path(out)
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            if not force:
                raise ValueError(
                    f"--out {path} exists already: continue its run with --resume, replace it with "
                    "--force, or choose another folder"
                )
            _remove_run(path)
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ValueError(
            f"--out {out or 'runs'} cannot be written to ({reason(error)}): choose another folder"
        ) from None
    return RunFolder(path)


def open_folder(path: str) -> RunFolder:
    """The folder of an existing run, its configuration and vocabulary checked.

    Raises:
      ValueError: it is not the folder of a run, or a broken one.
    """
    folder = RunFolder(Path(path))
    if not folder.path.is_dir():
        raise ValueError(f"{path} is not the folder of a run: give one that rnn-jax train wrote")
    _ = folder.config, folder.vocabulary
    return folder


def _make_new() -> Path:
    stem = f"runs/{datetime.now():%Y-%m-%d-%H%M%S}"
    names = (stem if n == 1 else f"{stem}-{n}" for n in itertools.count(1))
    for path in map(Path, names):
        try:
            path.mkdir(parents=True)
        except FileExistsError:  # another run began in this second
            continue
        return path
    raise AssertionError("there is always a next number")


def _is_ours(file: Path) -> bool:
    """Whether a file begins as a run's configuration does; a broken one may still be replaced."""
    try:
        return f'"format": "{_FORMAT}"' in file.read_text("utf-8", errors="replace")[:200]
    except OSError:
        return False


def _remove_run(path: Path) -> None:
    """Remove a run's own files; anything else in the folder is not ours to delete."""
    if not path.is_dir():
        raise ValueError(f"--out {path} is a file: choose a folder")
    if not _is_ours(path / "config.json"):
        raise ValueError(f"--force replaces only the folder of a run, and {path} is none")
    foreign = sorted(p.name for p in path.iterdir() if p.name not in _FILES)
    if foreign:
        raise ValueError(
            f"--force would delete {foreign[0]} in {path}, which is not part of a run: move it"
        )
    for name in _FILES:
        (path / name).unlink(missing_ok=True)
