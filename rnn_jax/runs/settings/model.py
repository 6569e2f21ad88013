"""What is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from rnn_jax.host.options import Options, flag, option
from rnn_jax.runs.cells import CELLS, WITH
from rnn_jax.runs.softmax import parse_softmax

__all__ = ["ModelSettings"]


@dataclass(frozen=True)
class ModelSettings(Options):
    """The language model: its cells, its layers, and the noise that regularises them."""

    section: ClassVar[str] = "Model"
    refused: ClassVar[dict[str, str]] = {
        "bidirectional": (
            "a model that predicts the next token must not read it, as --bidirectional would: "
            "leave it out; where whole sequences are known, build a sequence_tagger or a "
            "sequence_classifier over bidirectional() in Python"
        )
    }

    cell: str = option("gru", f"Recurrent cell: {', '.join(CELLS)}.")
    hidden_size: int = option(256, "Hidden units of a layer.")
    num_layers: int = option(1, "Recurrent layers.")
    embedding_size: int = option(128, "Features of a token's embedding; 0: one-hot vectors.")
    bias: bool = option(True, "Biases in the cells and the read-out.")
    proj_size: int | None = option(
        None, "With --cell lstm: outputs of a layer, a projection of its hidden units."
    )
    layer_norm: bool = option(
        False, f"Layer normalisation inside the cell, with {', '.join(WITH['layer_norm'])}."
    )
    learned_carry: bool = option(False, "Learn the state that a sequence starts from.")
    residual: bool = option(
        False, "Layers add to their input; the first one only where the sizes agree."
    )
    tied: bool = option(False, "The read-out's matrix is the embedding's, transposed.")
    softmax: str = option(
        "full",
        "Read-out: full, one matrix; for large vocabularies adaptive, clusters by frequency that "
        "begin at V/20 and V/4, adaptive:2000,10000 for others; or sampled:1024, of so many drawn "
        "words while training.",
    )
    dropout: float = option(0.0, "Dropout rate before, between and after the layers.")
    variational_dropout: bool = option(
        False, "--dropout drops the same features in all steps of a window or sentence."
    )
    weight_drop: float = option(0.0, "Rate at which entries of the recurrent matrix are dropped.")
    zoneout: float = option(0.0, "Rate at which units keep the state of the step before.")
    zoneout_cell: float | None = option(
        None, "That of an LSTM's cell state; default: the rate of --zoneout."
    )
    activation_penalty: float = option(
        0.0, "Coefficient of a penalty on the last layer's mean square output (AR), such as 2."
    )
    temporal_penalty: float = option(
        0.0, "That of one on its mean squared change from step to step (TAR), such as 1."
    )
    dtype: Literal["float32", "bfloat16"] = option(
        "float32", "Of products and activations; parameters, losses and states are float32."
    )
    remat: bool = option(
        False, "Compute states again in the backward pass: long windows in little memory."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(1, "hidden_size", "num_layers", "proj_size")
        self.at_least(0, "embedding_size")
        self.require("num_layers", self.num_layers <= 1000, "at most 1000")
        for name in ("hidden_size", "embedding_size", "proj_size"):
            self.require(name, (getattr(self, name) or 0) < 2**31, "below 2**31")
        self.fraction("dropout", "weight_drop", "zoneout", "zoneout_cell")
        self.not_negative("activation_penalty", "temporal_penalty")
        self.one_of("cell", CELLS)
        self._check_cell()
        self._check_sizes()
        kind, _ = parse_softmax(self.softmax)
        if self.tied and kind != "full":
            raise ValueError(
                f"--tied reads out by the embedding, and --softmax {self.softmax} by parameters of "
                "its own: leave out one of them"
            )
        if self.variational_dropout and not self.dropout:
            raise ValueError(
                "--variational-dropout says how --dropout drops, and its rate is 0: give one, such "
                "as --dropout 0.3"
            )

    @property
    def output_size(self) -> int:
        """Features that a layer gives to the next one."""
        return self.hidden_size if self.proj_size is None else self.proj_size

    def _check_cell(self) -> None:
        """Raise ValueError for an option that the cell does not have."""
        for name, cells in WITH.items():
            # Without biases is how a cell that has none is anyway.
            asked = name != "bias" and getattr(self, name) not in (None, False, 0)
            if asked and self.cell not in cells:
                raise ValueError(
                    f"{flag(name)} is not for --cell {self.cell}: leave it out, or use "
                    f"--cell {_either(cells)}"
                )
        if self.layer_norm and self.proj_size is not None:
            raise ValueError("--layer-norm and --proj-size do not go together: leave one out")

    def _check_sizes(self) -> None:
        """Raise ValueError for sizes that tied weights or residual connections cannot have."""
        size = f"--{'hidden' if self.proj_size is None else 'proj'}-size {self.output_size}"
        if self.tied and self.embedding_size != self.output_size:
            raise ValueError(
                f"--tied takes an embedding of the size of the outputs, and --embedding-size "
                f"{self.embedding_size} is not {size}: set --embedding-size {self.output_size}"
            )
        if self.residual and self.num_layers == 1 and self.embedding_size != self.output_size:
            raise ValueError(
                f"--residual adds a layer's input to its output, and --embedding-size "
                f"{self.embedding_size} is not {size}: set --embedding-size {self.output_size}, or "
                "take more layers with --num-layers"
            )


def _either(names: tuple[str, ...]) -> str:
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last
