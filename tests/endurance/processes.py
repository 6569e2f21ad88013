"""One process of several is killed: do the others end, and does the training go on as if not?

    python -m tests.endurance.processes --processes 4 --out tests/endurance/processes.md

For each moment (while a checkpoint is written, in a step, when the processes have joined, before
they have) process 0 or the last one is killed. The others must end by themselves, with an exit code
other than 0 and a sentence; what is then started again must end in the same bits as a training that
nothing happened to.
"""

from __future__ import annotations

import argparse
import platform
import random
import shlex
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import jax

from tests.groups import Group, left, rows

MOMENTS = ("in a checkpoint", "in a step", "joined", "before joining")
OPTIONS = shlex.split(
    "--level char --epochs 4 --hidden-size 192 --batch-size 8 --seq-length 20 --dropout 0.2 "
    "--save-every 0.05 --keep 3 --no-compare"
)
SENTENCES = ("has vanished", "does not answer", "did not come")


class Trials:
    """The command in so many processes, and what an undisturbed run of it leaves."""

    def __init__(self, work: Path, count: int, seed: int) -> None:
        self.work, self.count, self.rng = work, count, random.Random(seed)
        words = ["".join(self.rng.choices("abcdefgh", k=self.rng.randint(2, 7))) for _ in range(99)]
        (work / "text.txt").write_text(" ".join(self.rng.choices(words, k=1_500)))
        self.first = ["--corpus", str(work / "text.txt"), *OPTIONS, "--out"]
        Group(work, count, [*self.first, str(work / "whole")]).done()
        self.wanted = left(work / "whole")

    def trial(self, moment: str, victim: int) -> tuple[float, set[int]]:
        """The seconds until the last of the others had ended, and their exit codes."""
        folder = self.work / "run"
        shutil.rmtree(folder, ignore_errors=True)
        group = Group(self.work, self.count, [*self.first, str(folder)], wait=30)

        def writes() -> bool:
            return any(folder.glob(".checkpoint.safetensors.*"))

        if moment == "before joining":
            time.sleep(self.rng.uniform(0, 0.5))
        elif moment == "joined":
            assert group.when(lambda: "tokens to train on" in group.out(0))
        elif moment == "in a step":
            assert group.when(lambda: rows(folder) > 1)
            time.sleep(self.rng.uniform(0, 0.3))
        else:
            assert group.when(lambda: rows(folder) > 1)
            assert group.when(writes, pause=0.0005)
        killed = group.send(victim)
        ends = group.ended()
        others = [end for number, end in enumerate(ends) if number != victim]
        codes = {code for code, _ in others}
        assert ends[victim][0] == -9, ends
        for number in set(range(self.count)) - {victim}:
            said = group.err(number)
            assert ends[number][0], f"process {number} ended with exit code 0: {said}"
            assert any(s in said for s in SENTENCES), f"process {number}, {ends[number]}: {said}"
        if (folder / "config.json").exists():
            again = ["--resume", str(folder), "--no-compare"]
        else:
            again = [*self.first, str(folder), *(["--force"] if folder.exists() else [])]
        Group(self.work, self.count, again).done()
        found = left(folder)
        other = [name for name in found if found[name] != self.wanted[name]]
        assert not other, f"{other} differ after {moment}, process {victim}"
        return max(at for _, at in others) - killed, codes


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table of how long it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--count", type=int, default=1, help="trainings a moment and process")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=None, help="file of the table")
    options = parser.parse_args(arguments)
    table = []
    with tempfile.TemporaryDirectory() as work:
        trials = Trials(Path(work), options.processes, options.seed)
        for moment in MOMENTS:
            for victim in (0, options.processes - 1):
                met = [trials.trial(moment, victim) for _ in range(options.count)]
                seconds = max(seconds for seconds, _ in met)
                codes = ", ".join(map(str, sorted(set().union(*(codes for _, codes in met)))))
                table.append(f"| {moment} | {victim} | {len(met)} | {seconds:.1f} s | {codes} |")
                print(table[-1], flush=True)
    lines = [
        "# One of several processes killed",
        "",
        f"`python -m tests.endurance.processes --processes {options.processes} --count "
        f"{options.count} --seed {options.seed}`, Python {platform.python_version()}, "
        f"JAX {jax.__version__}:",
        "each of the others ended by itself, with a sentence that names the process. What was",
        "started again ended in the bits of the training that nothing happened to: parameters,",
        "best parameters, checkpoint, losses. Before all have joined, the others wait for those",
        "that may still come, here for 30 seconds (`--join-timeout`).",
        "",
        "| killed | process | trainings | the last of the others ended after | exit codes |",
        "|---|---|---|---|---|",
        *table,
    ]
    text = "\n".join(lines) + "\n"
    if options.out is not None:
        options.out.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
