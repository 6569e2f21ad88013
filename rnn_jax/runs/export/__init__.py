"""A run's model in a folder that needs neither the run nor this package."""

from rnn_jax.runs.export.folder import export_run
from rnn_jax.runs.export.formats import FORMATS, FormatName

__all__ = ["FORMATS", "FormatName", "export_run"]
