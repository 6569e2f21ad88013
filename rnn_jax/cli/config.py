"""``rnn-jax config``."""

from __future__ import annotations

import dataclasses
import json
import textwrap
from typing import Any

from rnn_jax.cli.options import with_options
from rnn_jax.host.options import section_of
from rnn_jax.runs import TrainConfig

__all__ = ["config"]


@with_options(TrainConfig)
def config(settings: TrainConfig, given: set[str]) -> None:
    """Print all settings of a training as a file for train --config, with what they mean."""
    section = None
    print("# rnn-jax train --config FILE; flags win over what stands here")
    for field in dataclasses.fields(settings):
        if section != (section := section_of(TrainConfig, field.name)):
            print(f"\n\n# {section}")
        print()
        for line in textwrap.wrap(field.metadata["help"], 96):
            print(f"# {line}")
        value = getattr(settings, field.name)
        print(f"# {field.name} =" if value is None else f"{field.name} = {_toml(value)}")


def _toml(value: Any) -> str:
    """A value as TOML has it: text, truth and numbers are as in JSON."""
    text = json.dumps(value, ensure_ascii=False)
    return text.replace("\x7f", "\\u007f")
