"""Runs a program of `to_stablehlo` where this package cannot be imported: JAX and NumPy alone.

    python -I tests/export/alone.py PROGRAM INPUTS.npz OUTPUTS.npz

The inputs are taken in the order of ``PROGRAM.json``, and the outputs get its names.
"""

import json
import sys
from pathlib import Path


class Refused:
    """An importer that finds this package and refuses it."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in ("rnn_jax", "tests"):
            raise ImportError(f"{name} is not to be had here")


def main(file: str, inputs: str, outputs: str) -> None:
    """Read, run, write."""
    import numpy as np
    from jax import export

    program = export.deserialize(bytearray(Path(file).read_bytes()))
    about = json.loads(Path(f"{file}.json").read_bytes())
    given = np.load(inputs)
    results = program.call(*(given[port["name"]] for port in about["inputs"]))
    names = [port["name"] for port in about["outputs"]]
    np.savez(outputs, **dict(zip(names, results, strict=True)))


if __name__ == "__main__":
    sys.meta_path.insert(0, Refused)
    main(*sys.argv[1:])
