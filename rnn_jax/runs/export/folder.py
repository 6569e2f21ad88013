"""The folder that a run is exported to, whole or not at all."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from rnn_jax.host.files import atomic_folder, reason
from rnn_jax.runs.export.formats import FORMATS, Format, FormatName
from rnn_jax.runs.folder import TOKENIZER
from rnn_jax.runs.load import Run, load_run

__all__ = ["export_run"]


def export_run(run: str, format: FormatName, out: str | None = None, *, best: bool = False) -> Path:
    """Write the model of a run, its vocabulary, and a README whose Python samples from it.

    Args:
      run: the run's folder.
      format: one of `FORMATS`.
      out: the new folder; None: ``exports/NAME-FORMAT``.
      best: the parameters of the lowest evaluated loss, not the latest.

    Returns:
      The folder.

    Raises:
      ValueError: ``run`` is not the folder of a run, or a file in it is missing or damaged; the
        format cannot hold the model, or its library is missing; or the folder is there already, or
        cannot be written to.
    """
    source = Path(run)
    loaded = load_run(run, best=best)
    target = Path("exports", f"{source.resolve().name}-{format}") if out is None else Path(out)
    form = FORMATS[format]
    try:
        with atomic_folder(target) as folder:
            form.write(loaded, folder)
            shutil.copyfile(source / "vocabulary.json", folder / "vocabulary.json")
            if loaded.config.unit == "subword":
                shutil.copyfile(source / TOKENIZER, folder / TOKENIZER)
            names = sorted(file.name for file in folder.iterdir())
            readme = _readme(source.resolve().name, form, loaded, names)
            (folder / "README.md").write_text(readme, encoding="utf-8")
    except OSError as error:
        if isinstance(error, FileExistsError) and os.path.lexists(target):
            raise ValueError(
                f"--out {target} exists already: choose another folder, or remove it"
            ) from None
        raise ValueError(
            f"--out {target} cannot be written to ({reason(error)}): choose another folder"
        ) from None
    return target


_FILES = {
    "model.onnx": "the model: `tokens` int64[T, B] and the carry in, `logits` and the carry out",
    "model.stablehlo": "the model: `tokens` int32[T, B] and the carry in, `logits` and the carry "
    "out, for any T and B",
    "step.stablehlo": "the same for one step at a time, T = 1",
    "model.stablehlo.json": "its inputs and outputs, and the versions of JAX that read it",
    "step.stablehlo.json": "the same of the step",
    "carry.npz": "the initial carry of one row, by the names of the inputs",
    "parameters.safetensors": "the parameters, by their paths joined with dots",
    "parameters.npz": "the parameters, by their paths joined with dots",
    "model.safetensors": "a state dict: `embedding`, `rnn`, `decoder`",
    "vocabulary.json": "the tokens, in the order of their ids",
    TOKENIZER: "how text becomes subwords, for the library tokenizers",
}


def _readme(name: str, form: Format, run: Run, names: list[str]) -> str:
    config = run.config
    needs = [*form.needs, *(["tokenizers"] if config.unit == "subword" else [])]
    layers = f"{config.num_layers} layer{'s' if config.num_layers > 1 else ''}"
    what = (
        f"A language model of {len(run.vocabulary):,} {config.unit}s: {config.cell}, {layers} of "
        f"{config.hidden_size} units. Exported from the run `{name}` by rnn_jax: {form.about}."
    )
    files = "\n".join(f"- `{file}`: {_FILES[file]}" for file in names)
    return (
        f"# {name}\n\n{what}\n\n{files}\n\n"
        f"Python that runs in this folder, without rnn_jax:\n\n"
        f"    pip install {' '.join(sorted(needs))}\n\n```python\n{form.lines(run)}```\n"
    )
