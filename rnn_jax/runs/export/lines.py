"""Python that samples from an exported model: what stands in the README of its folder."""

from __future__ import annotations

from typing import Any, cast

import jax.numpy as jnp

from rnn_jax import text
from rnn_jax.cells.elman import Elman
from rnn_jax.cells.gru import GRUAfter
from rnn_jax.cells.lstm import LSTM
from rnn_jax.runs.export.plain import plain_model
from rnn_jax.runs.load import Run
from rnn_jax.runs.units import Units

__all__ = ["NPZ", "SAFETENSORS", "onnx", "parameters", "sampling", "stablehlo"]


def sampling(run: Run, imports: str, load: str, call: str) -> str:
    """A loop that draws tokens, for any level.

    Args:
      run: the run.
      imports: lines that import what is not imported anyway.
      load: lines that leave the model and its initial ``state``.
      call: lines that put the logits ``[V]`` of the next token after ``token`` into ``logits``, as
        an array of NumPy, and the new state into ``state``.
    """
    config, vocabulary = run.config, run.vocabulary
    units = Units(config, vocabulary)
    barred = [] if vocabulary.unknown is None else [vocabulary.unknown]
    if config.from_sentences:
        start, stop = text.SENTENCE_START, vocabulary.id(text.SENTENCE_END)
        barred.append(vocabulary.id(start))
    else:
        start, stop = units.neutral, None
    subword = config.unit == "subword"
    body = [
        *call.splitlines(),
        *([f"logits[{barred}] = -np.inf  # never drawn"] if barred else []),
        "token = int(np.argmax(logits / temperature + rng.gumbel(size=len(logits))))",
        *([f"if token == {stop}:  # {text.SENTENCE_END}", "    break"] if stop is not None else []),
        "ids.append(token)",
    ]
    joined = {
        "byte": 'bytes(ids).decode("utf-8", "replace")',
        "subword": 'Tokenizer.from_file("tokenizer.json").decode(ids)',
        "character": '"".join(tokens[i] for i in ids)',
        "word": '" ".join(tokens[i] for i in ids)',
    }[config.unit]
    read = 'Path("vocabulary.json").read_bytes().decode("utf-8", "surrogatepass")'
    return "\n".join(
        [
            "import json",
            "from pathlib import Path",
            *imports.splitlines(),
            "import numpy as np",
            *(["from tokenizers import Tokenizer"] if subword else []),
            "",
            f'tokens = json.loads({read})["tokens"]',
            *load.splitlines(),
            f"token, temperature = tokens.index({start!r}), 1.0",
            "ids, rng = [], np.random.default_rng()",
            "while len(ids) < 100:",
            *(f"    {line}" for line in body),
            f"print({joined})",
            "",
        ]
    )


def onnx(run: Run) -> str:
    """With onnxruntime and NumPy."""
    return sampling(
        run,
        "import onnxruntime",
        'model = onnxruntime.InferenceSession("model.onnx")\nstate = dict(np.load("carry.npz"))',
        'logits, *carry = model.run(None, {"tokens": np.array([[token]]), **state})\n'
        "logits, state = logits[0, 0], dict(zip(state, carry))",
    )


def stablehlo(run: Run) -> str:
    """With JAX and NumPy."""
    return sampling(
        run,
        "import jax",
        'program = jax.export.deserialize(bytearray(Path("step.stablehlo").read_bytes()))\n'
        'step, state = jax.jit(program.call), np.load("carry.npz").values()',
        "logits, *state = step(np.array([[token]], np.int32), *state)\n"
        "logits = np.array(logits[0, 0])",
    )


# By format: lines that import, and lines that leave the arrays under their names in ``w``.
NPZ = "", 'w = dict(np.load("parameters.npz"))'
SAFETENSORS = (
    "from safetensors.numpy import load_file",
    'w = load_file("parameters.safetensors")',
)

_CELLS: dict[type, str] = {
    Elman: "x = state[i] = np.tanh(z + r)",
    GRUAfter: """\
zr, zz, zn, rr, rz, rn = *np.split(z, 3), *np.split(r, 3)
keep = sigmoid(zz + rz)
x = state[i] = (1 - keep) * np.tanh(zn + sigmoid(zr + rr) * rn) + keep * state[i]""",
    LSTM: """\
zi, zf, zg, zo = np.split(z + r, 4)
memory[i] = sigmoid(zf + forget_bias) * memory[i] + sigmoid(zi) * np.tanh(zg)
x = state[i] = sigmoid(zo) * np.tanh(memory[i])""",
}


def parameters(run: Run, reading: tuple[str, str]) -> str:
    """With NumPy: a step of the common cells written out, else the names and shapes of the arrays.

    Other cells' equations, and the layouts of their parameters, are in the docstrings of their
    factories.
    """
    imports, load = reading
    found = _written_out(run)
    if found is None:
        shown = "for name, array in w.items():\n    print(name, array.shape, array.dtype)"
        return "\n".join([*imports.splitlines(), "import numpy as np", "", load, shown, ""])
    return sampling(run, imports, f"{load}\n{found[0]}", found[1])


def _written_out(run: Run) -> tuple[str, str] | None:
    """What goes before the loop, and one step of it; None where a step is no few lines."""
    plain = plain_model(run.model, run.params)
    step = None if plain is None else _CELLS.get(type(plain.cell))
    if plain is None or step is None:
        return None
    cell, first = cast(Any, plain.cell), next(iter(plain.parts.values()))
    odd = isinstance(cell, Elman) and cell.activation is not jnp.tanh
    if odd or "carry" in first:
        return None
    zeros = f"[np.zeros({cell.hidden_size}, np.float32)] * {len(plain.parts)}"
    before = [f"layers, state = {[f'{path}.' for path in plain.parts]}, {zeros}"]
    if isinstance(cell, LSTM):
        before.append(f"memory, forget_bias = {zeros}, {cell.forget_bias}")
    if not isinstance(cell, Elman):
        before.append("sigmoid = lambda a: (1 + np.tanh(a / 2)) / 2")
    bias, hidden = (f' + w[p + "{name}"]' if name in first else "" for name in ("b", "b_hh"))
    embedded = plain.model.embedding_size is not None
    table = 'w["embedding"]' if embedded else f"np.eye({len(run.vocabulary)}, dtype=np.float32)"
    matrix = 'w["embedding"].T' if plain.model.tied else 'w["readout.w"]'
    loop = [
        f"x = {table}[token]",
        "for i, p in enumerate(layers):",
        f'    z, r = x @ w[p + "w_ih"]{bias}, state[i] @ w[p + "w_hh"]{hidden}',
        *(f"    {line}" for line in step.splitlines()),
        f"logits = x @ {matrix}" + (' + w["readout.b"]' if plain.model.bias else ""),
    ]
    return "\n".join(before), "\n".join(loop)
