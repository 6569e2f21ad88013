"""Runs that are killed at random moments, and go on: do they end as one that never was?

    python -m tests.endurance.kills --count 50 --out tests/endurance/kills.md

For each signal so many trainings of the command line, from reading the text to the last checkpoint,
each stopped by that signal after a random part of the time that an undisturbed one takes. Then the
command that a person would type: ``--resume``, or the first one again where there is nothing to go
on from yet. The parameters, the best parameters, the checkpoint and the losses must be the same
bits as those of the undisturbed run.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import jax

ROOT = Path(__file__).parents[2]
SIGNALS = ("SIGKILL", "SIGTERM", "SIGHUP", "SIGINT")
COMPARED = ("parameters.safetensors", "best.safetensors", "checkpoint.safetensors")
OPTIONS = [
    "--level",
    "char",
    "--epochs",
    "3",
    "--hidden-size",
    "48",
    "--batch-size",
    "8",
    "--seq-length",
    "20",
    "--dropout",
    "0.2",
    "--average",
    "ema:0.99",
    "--schedule",
    "plateau",
    "--save-every",
    "0.05",
    "--keep",
    "3",
    "--no-compare",
]


class Runs:
    """The command, and what an undisturbed run of it leaves."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.corpus = work / "text.txt"
        rng = random.Random(0)
        words = ["".join(rng.choices("abcdefgh", k=rng.randint(2, 7))) for _ in range(300)]
        self.corpus.write_text(" ".join(rng.choices(words, k=12_000)))
        # Compiled once for all of them, so that a trial spends its time on what is tried.
        self.environment = {
            **os.environ,
            "JAX_COMPILATION_CACHE_DIR": str(work / "compiled"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "RNN_JAX_CACHE": str(work / "cache"),
        }
        self.finish(self.start("--corpus", str(self.corpus), *OPTIONS, "--out", str(work / "warm")))
        began = time.monotonic()
        self.first = ["--corpus", str(self.corpus), *OPTIONS, "--out"]
        self.finish(self.start(*self.first, str(work / "whole")))
        self.seconds = time.monotonic() - began
        self.wanted = self.left(work / "whole")

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "rnn_jax", "train", *arguments],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )

    def finish(self, process: subprocess.Popen[bytes]) -> None:
        _, error = process.communicate(timeout=600)
        if process.returncode or b"Traceback" in error:
            raise SystemExit(f"exit code {process.returncode}: {error.decode()}")

    def left(self, folder: Path) -> dict[str, str]:
        found = {
            name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in COMPARED
        }
        rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        found["losses"] = str([(row["step"], row["train_loss"], row["loss"]) for row in rows])
        return found

    def trial(self, number: int, seconds: float) -> str:
        """What the signal met; raises SystemExit where the run that goes on ends in other bits."""
        folder = self.work / "run"
        shutil.rmtree(folder, ignore_errors=True)
        process = self.start(*self.first, str(folder))
        time.sleep(seconds)
        process.send_signal(number)
        _, error = process.communicate(timeout=600)
        if b"Traceback" in error:
            raise SystemExit(error.decode())
        names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        met = "nothing kept yet"
        if process.returncode == 0:
            met = "already done"
        elif "checkpoint.safetensors" in names:
            met = "a checkpoint"
        elif "config.json" in names:
            met = "settings alone"
        if "config.json" in names:
            self.finish(self.start("--resume", str(folder), "--no-compare"))
        else:
            self.finish(self.start(*self.first, str(folder), *(["--force"] if names else [])))
        found = self.left(folder)
        if found != self.wanted:
            other = [name for name in found if found[name] != self.wanted[name]]
            raise SystemExit(f"{', '.join(other)} differ after {number} at {seconds:.3f} s ({met})")
        return met


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table of what the signals met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=50, help="trainings a signal")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=None, help="file of the table")
    options = parser.parse_args(arguments)
    for name in SIGNALS[1:]:  # behind nohup, or in the background, a trial would not hear them
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as work:
        runs = Runs(Path(work))
        met: dict[str, Counter[str]] = {name: Counter() for name in SIGNALS}
        for index in range(options.count):
            for name in SIGNALS:
                # From the first moments of the process to a little beyond its end.
                seconds = rng.uniform(0.0, 1.05 * runs.seconds)
                met[name][runs.trial(getattr(signal, name), seconds)] += 1
            print(f"{index + 1} of {options.count}: all the same bits", flush=True)
    columns = ("nothing kept yet", "settings alone", "a checkpoint", "already done")
    lines = [
        "# Killed at random moments",
        "",
        f"`python -m tests.endurance.kills --count {options.count} --seed {options.seed}`, Python "
        f"{platform.python_version()}, JAX {jax.__version__}:",
        f"an undisturbed training took {runs.seconds:.1f} s. Every run that was stopped and went",
        "on ended in the same bits: parameters, best parameters, checkpoint, losses. What was met:",
        "",
        f"| signal | trainings | {' | '.join(columns)} |",
        f"|---|---|{'---|' * len(columns)}",
    ]
    for name, counted in met.items():
        cells = " | ".join(str(counted[column]) for column in columns)
        lines.append(f"| {name} | {counted.total()} | {cells} |")
    table = "\n".join(lines) + "\n"
    print(table)
    if options.out is not None:
        options.out.write_text(table)


if __name__ == "__main__":
    main()
