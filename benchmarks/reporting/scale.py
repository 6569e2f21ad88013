"""``python -m benchmarks scale``: what a data-parallel step sends and waits for, reckoned.

On 8, 64 and 512 devices; nothing is measured.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

from benchmarks.measuring.sending import (
    COUNTS,
    LINKS,
    MODELS,
    Link,
    Machine,
    dense_table_bytes,
    gradient_bytes,
    parameters,
    plain_scan_bytes,
    published_machine,
    ring_seconds,
    touched_rows_bytes,
)
from benchmarks.measuring.workloads import Language
from benchmarks.reporting.tables import Line, table

__all__ = ["add_arguments", "run", "tables"]

_JOINED = [(link, n) for link in LINKS for n in COUNTS if n <= link.most]
_BATCH = 512  # rows as a whole, where a batch is shared


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this command."""
    parser.add_argument(
        "--tflops",
        type=float,
        help="operations a second of a device, in units of 10^12; those of a V100 in DeepBench",
    )
    parser.add_argument(
        "--step-us",
        type=float,
        help="microseconds that one step in time takes at least, forward and backward; "
        "those of a V100 in DeepBench",
    )


def run(options: argparse.Namespace) -> None:
    """Print the tables.

    Raises:
      ValueError: a number is not above 0.
    """
    machine = published_machine()
    for name in ("tflops", "step_us"):
        value = getattr(options, name)
        if value is not None and not 0 < value < float("inf"):
            raise ValueError(f"--{name.replace('_', '-')} must be above 0, not {value}")
    if options.tflops is not None:
        machine = replace(machine, rate=options.tflops * 1e12)
    if options.step_us is not None:
        machine = replace(machine, step=options.step_us / 1e6)
    print(
        f"A device of {machine.rate / 1e12:.1f} TFLOP/s that takes {machine.step * 1e6:.0f} µs a "
        "step in time at least\n"
    )
    print("\n\n".join(f"{title}\n\n{lines}" for title, lines in tables(machine).items()))


def tables(machine: Machine) -> dict[str, str]:
    """All tables by their titles, as Markdown."""
    return {
        "Links": _table([_link(link) for link in LINKS]),
        "What a step sends": _table([_sent(model) for model in MODELS]),
        "Milliseconds of a ring all-reduce": _table(
            [
                {"model": m.title} | {_name(*j): _ms(_seconds(m, *j)) for j in _JOINED}
                for m in MODELS
            ]
        ),
        "Of these, milliseconds of latency": _table(
            [{"model": "any"} | {_name(*j): _ms(ring_seconds(0, *j)) for j in _JOINED}]
        ),
        "Rows of each device whose computing takes as long as the all-reduce": _table(
            [
                {"model": m.title}
                | {_name(*j): f"{machine.hiding_rows(m, _seconds(m, *j)):,}" for j in _JOINED}
                for m in MODELS
            ]
        ),
        f"How much faster n devices share a batch of {_BATCH} rows": _table(
            [_shared(machine, m) for m in MODELS]
        ),
        "MB that a device sends of an embedding's gradient": _table(
            [_embedding(model) for model in MODELS if model.embedding and not model.tied]
        ),
    }


def _table(lines: list[Line]) -> str:
    return table(lines, tuple(lines[0]))


def _link(link: Link) -> Line:
    return {
        "link": link.name,
        "GB/s one way": f"{link.bandwidth / 1e9:g}",
        "µs a hop": f"{link.latency * 1e6:g}",
        "from": link.source,
    }


def _sent(model: Language) -> Line:
    long = replace(model, length=350)
    return {
        "model": model.title,
        "cell": model.cell,
        "V": f"{model.vocab:,}",
        "H": f"{model.hidden:,}",
        "layers": str(model.layers),
        "T": str(model.length),
        "parameters": f"{parameters(model):,}",
        "MB a step": _mb(gradient_bytes(model)),
        "plain scan, MB": _mb(plain_scan_bytes(model)),
        "at T = 350": _mb(plain_scan_bytes(long)),
    }


def _shared(machine: Machine, model: Language) -> Line:
    """How much faster n devices are than one."""
    alone = machine.compute_seconds(model, _BATCH)

    def faster(link: Link, n: int) -> str:
        shared = machine.compute_seconds(model, _BATCH / n) + _seconds(model, link, n)
        return f"{alone / shared:.1f}"

    busy = machine.busy_rows(model)
    return {
        "model": model.title,
        "busy from rows": f"{busy:,}",
        "n": f"{max(1, _BATCH // busy):,}",
        **{_name(*j): faster(*j) for j in _JOINED},
    }


def _embedding(model: Language) -> Line:
    line = {"model": model.title, "V": f"{model.vocab:,}", "rows a step": f"{_rows(model):,}"}
    for n in COUNTS:
        line[f"table, n = {n}"] = _mb(dense_table_bytes(model, n))
        line[f"rows, n = {n}"] = _mb(touched_rows_bytes(model, n))
    even = dense_table_bytes(model, 2) / touched_rows_bytes(model, 2) * 2
    n = COUNTS[0]
    saved = dense_table_bytes(model, n) - touched_rows_bytes(model, n)
    everything = 2 * (n - 1) / n * gradient_bytes(model)
    return line | {
        "rows are less up to n =": f"{int(even):,}",
        f"and save of a step, n = {n}": f"{saved / everything:.0%}",
    }


def _rows(model: Language) -> int:
    return model.batch * model.length


def _seconds(model: Language, link: Link, count: int) -> float:
    return ring_seconds(gradient_bytes(model), link, count)


def _name(link: Link, count: int) -> str:
    return f"{link.name} {count}"


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.3g}" if seconds < 1 else f"{seconds * 1e3:,.0f}"


def _mb(size: float) -> str:
    return f"{size / 1e6:.3g}" if size < 1e9 else f"{size / 1e6:,.0f}"
