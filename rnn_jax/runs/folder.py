"""The folder of a training run: what is written there, whole or not at all, and read back."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import platform
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

import jax
import numpy as np

from rnn_jax.host.checksums import checksum_of_json, sealed, unsealed
from rnn_jax.host.files import Row, atomic_path, reason
from rnn_jax.interop import load_params, save_params
from rnn_jax.runs.config import TrainConfig, make_model
from rnn_jax.runs.replaced import discard
from rnn_jax.runs.tested import TEST
from rnn_jax.text import Vocabulary
from rnn_jax.training.history import History, read_history
from rnn_jax.training.store import (
    BEST,
    CHECKPOINT,
    METRICS,
    PARAMETERS,
    Store,
    is_checkpoint,
    step_of,
)
from rnn_jax.types import Model, Params

__all__ = ["FORMAT", "TOKENIZER", "RunFolder", "is_of_run"]

FORMAT = "rnn_jax run 1"
TOKENIZER = "tokenizer.json"
_FILE = "file:"
_FILES = (
    "config.json",
    METRICS,
    "vocabulary.json",
    TOKENIZER,
    "samples.txt",
    TEST,
    PARAMETERS,
    BEST,
    "loss.png",
)


def is_of_run(name: str) -> bool:
    """Whether a file of this name in a run's folder is the run's own."""
    return name in _FILES or is_checkpoint(name) or name.startswith("events.out.tfevents.")


# The latest, and those of the lowest evaluated loss.
_PARAMETERS = {False: PARAMETERS, True: BEST}


@dataclass(frozen=True)
class RunFolder:
    """Paths and readers of one run; made by `create_folder` or `open_folder`.

    What is read is what was written, or refused: ``config.json`` holds a checksum of itself and of
    the vocabulary, every row of metrics and every tensor one of its own. Folders of before there
    were any are read as they are.
    """

    path: Path

    @cached_property
    def config(self) -> TrainConfig:
        """The run's configuration; a vocabulary of subwords is the folder's own copy."""
        config = self.config_as_given
        return replace(config, level=f"{_FILE}{self._tokenizer}") if self._tokenizer else config

    @cached_property
    def config_as_given(self) -> TrainConfig:
        """The configuration as the run was begun with it."""
        settings = self._content["config"]
        try:
            return TrainConfig(**settings)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{self.path}/config.json is broken: {error}") from None

    @cached_property
    def _tokenizer(self) -> Path | None:
        """The tokenizer.json of the run, if it has one."""
        kept = self._content.get("tokenizer_sha256")
        if kept is None:
            return None
        file = self.path / TOKENIZER
        try:
            found = hashlib.sha256(file.read_bytes()).hexdigest()
        except OSError as error:
            raise ValueError(
                f"{file} cannot be read ({reason(error)}): restore the file from a copy"
            ) from None
        if found != kept:
            raise ValueError(
                f"{file} is damaged, or that of another run: restore the file from a copy"
            )
        return file

    @property
    def corpus_sha256(self) -> str:
        """The hash of the text that the run was trained on."""
        sha256: str = self._content["corpus_sha256"]
        return sha256

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The run's vocabulary."""
        vocabulary = Vocabulary.load(self.path / "vocabulary.json")
        kept = self._content.get("vocabulary_checksum")
        if kept is not None and kept != _vocabulary_checksum(vocabulary):
            raise ValueError(
                f"{self.path}/vocabulary.json is damaged, or that of another run: restore the file "
                "from a copy"
            )
        return vocabulary

    @property
    def existing_vocabulary(self) -> Vocabulary | None:
        """The run's vocabulary; None where the run was stopped before it was written."""
        there = self.trained or (self.path / "vocabulary.json").exists()
        return self.vocabulary if there else None

    @cached_property
    def model(self) -> Model:
        """The run's model, not truncated."""
        return make_model(self.config, len(self.vocabulary))

    def load_parameters(self, *, like: Params = None, best: bool = False) -> Params:
        """The latest parameters, or those of the lowest evaluated loss.

        Args:
          like: some of the same model, if there are any.
          best: those of the lowest loss.

        Raises:
          ValueError: there are none, they are damaged, of another model, or not finite.
        """
        name = _PARAMETERS[best]
        if best and not (self.path / name).exists():
            raise ValueError(f"{self.path} has no {name}: its run has not kept the best parameters")
        if like is None:
            like = jax.eval_shape(self.model.init, jax.random.key(0))
        params = load_params(self.path / name, like=like)
        for keys, leaf in jax.tree.leaves_with_path(params):
            if not np.isfinite(np.asarray(leaf)).all():
                raise ValueError(
                    f"{jax.tree_util.keystr(keys, simple=True, separator='.')} in {self.path}/"
                    f"{name} is not finite, so the model is of no use: restore the "
                    "file from a copy, or train again with a lower --lr"
                )
        return params

    @property
    def has_best(self) -> bool:
        """Whether the parameters of the lowest evaluated loss are kept."""
        return (self.path / BEST).exists()

    def save_parameters(self, params: Params, *, best: bool = False) -> None:
        """Put the latest parameters, or the best, in place of the ones before."""
        save_params(self.path / _PARAMETERS[best], params)

    def store(self) -> Store:
        """The files that training writes; it is to be closed.

        With its first step go the run that this one replaces, and figures of parameters before it.
        """
        before = self.steps

        def saved(step: int) -> None:
            if step:
                discard(self.path)
            if step != before:
                (self.path / TEST).unlink(missing_ok=True)

        return Store(self.path, keep=self.config.keep, saved=saved)

    @property
    def trained(self) -> bool:
        """Whether there is anything of a training to lose: a step, or files that hide one."""
        if (self.path / CHECKPOINT).exists() and self.steps != 0:
            return True
        lines = self.history().lines
        told = any(isinstance(line, str) or line["step"] > 0 for line in lines)
        alone = not (self.path / CHECKPOINT).exists()
        return told or (alone and (self.path / PARAMETERS).exists())

    @property
    def steps(self) -> int | None:
        """The steps that the checkpoint has done; None where that cannot be read."""
        return step_of(self.path / CHECKPOINT)

    @property
    def valid_sha256(self) -> str | None:
        """The hash of the text of ``--valid``."""
        return self._content.get("valid_sha256")

    @property
    def test_sha256(self) -> str | None:
        """The hash of the text of ``--test``."""
        return self._content.get("test_sha256")

    def save_settings(
        self,
        config: TrainConfig,
        vocabulary: Vocabulary,
        sha256: str,
        origin: str,
        valid_sha256: str | None = None,
        test_sha256: str | None = None,
    ) -> None:
        """Write ``config.json`` and ``vocabulary.json``, and a copy of a tokenizer.json.

        What a run was begun with stays in ``config.json``; whenever it goes on, the versions and
        the device are added to the list under ``resumed``.
        """
        here = {
            "python": platform.python_version(),
            "versions": {name: version(name) for name in ("jax", "jaxlib", "numpy", "optax")},
            "device": jax.local_devices()[0].device_kind,
            "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        }
        if (self.path / "config.json").exists():
            before = {name: self._content.get(name) for name in here}
            made = {**before, "resumed": [*self._content.get("resumed", []), here]}
        else:
            made = {**here, "resumed": []}
        settings, tokenizer, copy = dataclasses.asdict(config), {}, None
        if config.level.startswith(_FILE):
            file = Path(os.path.abspath(config.level.removeprefix(_FILE)))
            content = file.read_bytes()
            tokenizer = {"tokenizer_sha256": hashlib.sha256(content).hexdigest()}
            if file == Path(os.path.abspath(self.path / TOKENIZER)):  # it goes on
                settings["level"] = self.config_as_given.level
            else:
                settings["level"], copy = f"{_FILE}{file}", content
        config_json = {
            "format": FORMAT,
            "config": settings,
            "vocab_size": len(vocabulary),
            "vocabulary_checksum": _vocabulary_checksum(vocabulary),
            "corpus_sha256": sha256,
            "corpus_origin": origin,
            **({} if valid_sha256 is None else {"valid_sha256": valid_sha256}),
            **({} if test_sha256 is None else {"test_sha256": test_sha256}),
            **tokenizer,
            **made,
        }
        # The configuration first: with it alone, a folder is known for that of a run.
        text = json.dumps(sealed(config_json), indent=2, ensure_ascii=False)
        self.write_text("config.json", text + "\n")
        vocabulary.save(self.path / "vocabulary.json")
        if copy is not None:
            with atomic_path(self.path / TOKENIZER) as temporary:
                temporary.write_bytes(copy)

    def write_text(self, name: str, text: str) -> None:
        """Write a file of the run, whole or not at all."""
        with atomic_path(self.path / name) as temporary:
            # Damaged bytes that were read as lone surrogates are written as they were.
            temporary.write_text(text, encoding="utf-8", errors="surrogateescape", newline="\n")

    def history(self) -> History:
        """What ``metrics.jsonl`` holds; a warning names lines of it that are damaged."""
        return read_history(self.path / METRICS)

    def read_metrics(self) -> list[Row]:
        """The rows of ``metrics.jsonl``, damaged ones left out."""
        return self.history().rows

    @cached_property
    def _content(self) -> Row:
        file = self.path / "config.json"
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            config = TrainConfig.completed(content["config"])
            known = {field.name for field in dataclasses.fields(TrainConfig)}
            good = content["format"] == FORMAT and set(config) == known
            good = good and isinstance(content["corpus_sha256"], str)
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            good = False
        if not good:
            raise ValueError(
                f"{self.path} is not the folder of a run: its config.json is missing, broken or of "
                "another version; give a folder that rnn-jax train wrote"
            )
        try:
            return {**unsealed(content), "config": config}
        except ValueError as error:
            raise ValueError(
                f"{file} is damaged or was edited ({error}): restore it from a copy, or take its "
                "checksum out if the change is meant"
            ) from None


def _vocabulary_checksum(vocabulary: Vocabulary) -> str:
    return checksum_of_json([vocabulary.unknown, vocabulary.tokens])
