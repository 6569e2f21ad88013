"""Law 10 for ONNX: every cell, layer and model gives the same outputs without rnn_jax.

One run of ours per member, in float64, is the oracle of many runs of ONNX Runtime: of a batch with
lengths, of single rows at their own lengths, of chunks and of single steps. What is left between
them is the float32 of ONNX Runtime, a few units of its 6e-8 over six steps.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnn_jax as r
from tests.cases import CASES, CELLS, SIZE, Case, quick_jit
from tests.export.runtime import assert_near, written

STEPS, LENGTHS = 6, (6, 3, 0, 1)


@dataclass(frozen=True)
class Leaky(r.PointwiseCell):
    """A cell of one's own, in the pointwise form."""

    leak: float = 0.1

    def pointwise(self, theta: Any, carry: Any, z: Any, r: Any) -> Any:
        h = (1 - self.leak) * carry + self.leak * jnp.tanh(z[0] + r[0])
        return h, h


@dataclass(frozen=True)
class Glance(r.BaseLayer):
    """A layer of one's own: each step beside the one before, which it carries."""

    def init(self, key: Any, input_size: int) -> Any:
        return {"w": jnp.zeros((input_size, 2))}

    @property
    def output_size(self) -> int:
        return 4

    def initial_carry(self, batch_shape: Any, params: Any = None) -> Any:
        return {"before": jnp.zeros((*batch_shape, SIZE)), "steps": jnp.zeros(batch_shape, int)}

    def run(self, params: Any, carry: Any, xs: Any, along: Any, *, every: bool) -> Any:
        valid = jnp.ones(xs.shape[:2], bool) if along.mask is None else along.mask
        carry = self.initial_carry(xs.shape[1:2]) if carry is None else carry

        def step(c: Any, inputs: Any) -> Any:
            x, valid = inputs
            both = jnp.stack([x, c["before"]], axis=1) @ params["w"]
            y = jnp.where(valid[:, None], both.reshape(-1, 4) - jax.nn.logsumexp(both, 1)[:, :1], 0)
            new = {"before": x, "steps": c["steps"] + 1}
            return jax.tree.map(
                lambda a, b: jnp.where(valid.reshape(-1, *[1] * (a.ndim - 1)), a, b), new, c
            ), y

        return jax.lax.scan(step, carry, (xs, valid))


def both_ways(cell: Any, merge: Any = "concat") -> r.Layer:
    return r.bidirectional(r.recurrent(cell), r.recurrent(cell, reverse=True), merge=merge)


_DEEP = r.serial(
    both_ways(r.lstm(2)), r.dropout(0.3), r.weight_drop(r.recurrent(r.gru(3)), 0.2),
    r.residual(both_ways(r.gru(3, reset="before"), "sum")), r.layer_norm(), r.linear(3),
)  # fmt: skip
_ABOVE = r.serial(both_ways(r.gru(2)), r.layer_norm(), r.residual(r.linear(4)))
_IDS_SHORT, _IDS_LONG = r.language_model(SIZE, r.recurrent(r.gru(2))), r.recurrent(r.elman(2))
_TIED = r.language_model(SIZE, r.recurrent(r.gru(3)), embedding_size=3, tied=True)
_SAMPLED = r.language_model(SIZE, r.recurrent(r.gru(3)), readout=r.sampled_softmax(2))


def classifier(layer: Any, pooling: Any, ids: bool = False) -> Case:
    model = r.sequence_classifier(3, layer, input_size=SIZE, pooling=pooling)
    return Case(f"classifier-{pooling}", model, ids=ids, model=True)


OWN = (
    *(Case(f"{name}-bidirectional", both_ways(CELLS[name]), ids=False)
      for name in ("elman-tanh", "gru-after", "lstm", "lstm-peepholes", "lstm-projected")),
    Case("lstm-summed", both_ways(CELLS["lstm"], "sum"), ids=False),
    Case("min-gru-summed", both_ways(CELLS["min-gru"], "sum"), ids=False),
    Case("gru-ids-bidirectional", both_ways(r.gru(3)), ids=True),
    Case("elman-ids-bidirectional", both_ways(r.elman(3)), ids=True),
    Case("deep", _DEEP, ids=False),
    Case("two-biases", r.recurrent(r.lstm(3, learned_carry=True, recurrent_bias=True)), ids=False),
    Case("zoneout-lstm", r.zoneout(r.lstm(3), 0.3, cell_rate=0.1), ids=False),
    Case("no-zoneout", r.zoneout(r.gru(3), 0.0), ids=False),
    Case("own-cell", r.recurrent(Leaky(3)), ids=False),
    Case("own-cell-ids", r.recurrent(Leaky(3)), ids=True),
    Case("own-layer", r.serial(Glance(), r.recurrent(r.elman(3))), ids=False),
    Case("ids-one-hot", _IDS_SHORT, ids=True, model=True),
    Case("ids-product", _IDS_LONG, ids=True),
    Case("tied", _TIED, ids=True, model=True),
    Case("sampled", _SAMPLED, ids=True, model=True),
    Case("truncated", r.truncate(r.recurrent(r.gru(3)), r.sliding(2)), ids=False),
    classifier(r.recurrent(r.gru(3)), "last"),
    classifier(r.recurrent(r.gru(3, reset="before"), reverse=True), "last", ids=True),
    classifier(_ABOVE, "last"),
    classifier(_ABOVE, "mean"),
    classifier(r.serial(r.dropout(0.2), r.recurrent(r.elman(3))), "max"),
)  # fmt: skip
# A complex carry has no operators.
ALL = tuple(case for case in (*CASES, *OWN) if not case.name.startswith("lru"))


def arrays(case: Case, seed: int = 0) -> tuple[Any, Any, np.ndarray]:
    """Parameters, a carry and inputs of one member, of float32."""
    params, carry = case.init(seed), case.carry((len(LENGTHS),), None)
    if case.name == "own-layer":  # integers
        carry = jax.tree.map(lambda c: c.astype(jnp.float32) if c.ndim > 1 else c, carry)
    params, carry = jax.tree.map(np.asarray, (params, carry))
    xs = np.array(case.inputs(STEPS, (len(LENGTHS),)))
    return params, carry, xs


@quick_jit
def apply(member: Any, params: Any, carry: Any, xs: Any, mask: Any) -> Any:
    return member.apply(params, carry, xs, mask=mask)


def oracle(case: Case, params: Any, carry: Any, xs: Any) -> Any:
    """What ours gives in float64 for a batch with lengths: the new carry and the outputs."""

    def wide(a: Any) -> Any:
        return a.astype(np.float64) if a.dtype == np.float32 else a

    with jax.enable_x64(True):
        mask = np.arange(STEPS)[:, None] < np.array(LENGTHS)[None]
        return apply(case.member, *jax.tree.map(wide, (params, carry, xs)), mask)


@pytest.mark.parametrize("case", ALL, ids=str)
def test_outputs_are_the_same_without_rnn_jax(case: Case, tmp_path: Path) -> None:
    params, carry, xs = arrays(case)
    wanted_carry, wanted = oracle(case, params, carry, xs)
    for row, length in enumerate(LENGTHS):  # padding may hold anything
        xs[length:, row] = -7 if case.ids else np.nan

    how = {"tokens": case.ids, "input_size": SIZE}
    file = written(tmp_path, case.member, params, lengths=True, **how)
    after, ys = file.run(xs, carry, LENGTHS)
    assert_near(after, wanted_carry)
    assert_near(ys, wanted)

    file = written(tmp_path, case.member, params, **how)
    one = case.model and case.name.startswith("classifier")
    for row in (0, 1, 3):  # one file, other lengths and another batch size
        length = LENGTHS[row]
        mine = jax.tree.map(lambda c, row=row: c[row : row + 1], carry)
        after, ys = file.run(xs[:length, row : row + 1], mine)
        assert_near(after, jax.tree.map(lambda c, row=row: c[row : row + 1], wanted_carry))
        alone = wanted[row : row + 1] if one else wanted[:length, row : row + 1]
        assert_near(ys, alone)

    if case.member.causal:
        mine = jax.tree.map(lambda c: np.repeat(c[:1], 3, axis=0), carry)
        whole = np.repeat(xs[:, :1], 3, axis=1)
        for cuts in ((0, 1, 2, 3, 4, 5, 6), (0, 4, 6)):
            now, pieces = mine, []
            for begin, end in itertools.pairwise(cuts):
                now, ys = file.run(whole[begin:end], now)
                pieces.append(ys)
            assert_near(now, jax.tree.map(lambda c: np.repeat(c[:1], 3, axis=0), wanted_carry))
            assert_near(np.concatenate(pieces), np.repeat(wanted[:, :1], 3, axis=1))


@pytest.mark.parametrize(
    "name", ["lstm", "gru-after", "lstm-layer-norm", "pre-norm", "lm-adaptive-softmax"]
)
def test_float16_is_as_near_as_float16_can_be(name: str, tmp_path: Path) -> None:
    (case,) = (case for case in CASES if case.name == name)
    params, carry, xs = arrays(case)
    wanted_carry, wanted = oracle(case, params, carry, xs)
    file = written(tmp_path, case.member, params, lengths=True, tokens=case.ids, dtype="float16")
    after, ys = file.run(xs, carry, LENGTHS)
    assert ys.dtype == np.float16
    # Half a unit in the last place is 2.4e-4 of a number below 1: a few steps add up to several.
    assert_near(after, wanted_carry, 3e-3)
    assert_near(ys, wanted, 3e-3)


@pytest.mark.parametrize("opset", [17, 18, 21, 22])
def test_the_meaning_is_the_same_in_every_opset(opset: int, tmp_path: Path) -> None:
    for case in (
        classifier(_ABOVE, "mean"),
        *(case for case in CASES if case.name in ("lstm-layer-norm", "lm-adaptive-softmax")),
    ):
        params, carry, xs = arrays(case)
        wanted_carry, wanted = oracle(case, params, carry, xs)
        file = written(tmp_path, case.member, params, lengths=True, tokens=case.ids, opset=opset)
        assert [(o.domain, o.version) for o in file.model.opset_import] == [("", opset)]
        after, ys = file.run(xs, carry, LENGTHS)
        assert_near(after, wanted_carry)
        assert_near(ys, wanted)
