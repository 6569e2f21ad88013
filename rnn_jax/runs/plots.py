"""The picture of a run."""

from __future__ import annotations

from rnn_jax.host.files import Row, atomic_path
from rnn_jax.runs.folder import RunFolder

__all__ = ["plot_loss"]


def plot_loss(folder: RunFolder, rows: list[Row], unigram_loss: float) -> None:
    """Draw evaluated and training loss against the epoch into ``loss.png``."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = figure.add_subplot()
    held_out = folder.config.held_out > 0
    axes.plot(
        [row["epoch"] for row in rows],
        [row["loss"] for row in rows],
        marker="o",
        label="held-out text" if held_out else "training text",
    )
    trained = [row for row in rows if row["train_loss"] is not None]
    axes.plot(
        [row["epoch"] - 0.5 for row in trained],
        [row["train_loss"] for row in trained],
        marker=".",
        label="while training (mean over the epoch)",
    )
    axes.axhline(unigram_loss, color="gray", linestyle="--", label="unigram frequencies")
    axes.set(xlabel="epoch", ylabel="cross-entropy (nats per token)", title=folder.config.corpus)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend()
    with atomic_path(folder.path / "loss.png") as temporary:
        figure.savefig(temporary, format="png", dpi=120)
