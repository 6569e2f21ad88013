"""``rnn-jax gradcheck``."""

from __future__ import annotations

from typing import Annotated

import typer

from rnn_jax.runs import TrainConfig, check_gradients, check_memory, make_model, truncated

__all__ = ["gradcheck"]


def gradcheck(
    cell: Annotated[str, typer.Option(help="Recurrent cell, as for train.")] = "tanh",
    vocab_size: Annotated[int, typer.Option(help="Tokens in the vocabulary, at least 5.")] = 100,
    hidden_size: Annotated[int, typer.Option(help="Hidden units of a layer.")] = 10,
    num_layers: Annotated[int, typer.Option(help="Recurrent layers.")] = 1,
    embedding_size: Annotated[int, typer.Option(help="0: one-hot vectors.")] = 0,
    bias: Annotated[bool, typer.Option(help="Biases in the cells and the read-out.")] = False,
    proj_size: Annotated[int | None, typer.Option(help="As for train.")] = None,
    layer_norm: Annotated[bool, typer.Option(help="As for train.")] = False,
    learned_carry: Annotated[bool, typer.Option(help="As for train.")] = False,
    residual: Annotated[bool, typer.Option(help="As for train.")] = False,
    tied: Annotated[bool, typer.Option(help="As for train.")] = False,
    softmax: Annotated[str, typer.Option(help="As for train.")] = "full",
    bptt: Annotated[str, typer.Option(help="Truncation, as for train.")] = "sliding:1000",
    seed: Annotated[int, typer.Option(help="Seed of the parameters.")] = 0,
) -> None:
    """Every parameter's gradient against central differences, in float64.

    The defaults are the reference's: x = [0, 1, 2, 3], y = [1, 2, 3, 4], h = 0.001, relative error
    below 0.01. A truncation shorter than the four steps must fail; the exit code is then 1.
    """
    if vocab_size < 5:
        raise ValueError(f"--vocab-size must be at least 5 for the tokens 0 to 4, not {vocab_size}")
    if cell == "echo-state":
        raise ValueError(
            "--cell echo-state is fixed, and no gradient reaches its parameters to be checked: "
            "choose another cell"
        )
    config = TrainConfig(
        cell=cell,
        hidden_size=hidden_size,
        num_layers=num_layers,
        embedding_size=embedding_size,
        bias=bias,
        proj_size=proj_size,
        layer_norm=layer_norm,
        learned_carry=learned_carry,
        residual=residual,
        tied=tied,
        softmax=softmax,
        batching="random",  # in which a learned state is read
        bptt=bptt,
        seed=seed,
    )
    model = make_model(config, vocab_size)
    check_memory(model)
    report = check_gradients(truncated(config, model), seed=seed)
    print(report)
    if not report.passed:
        raise typer.Exit(1)
