"""Law 10 for StableHLO: what is exported gives the same outputs when JAX runs it alone.

The tolerance of 2e-6 is that of float32: one compiler orders the sums of two programs differently,
over a few steps of a few units; any wrong term is far above it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

import rnn_jax as r
from rnn_jax.export import to_stablehlo
from tests.cases import CASES, KEY, MODEL, PLAIN, QUICK, SIZE, STACK, Case, every_case, quick_jit
from tests.laws.test_masks_and_steps import poisoned

pytest.importorskip("flatbuffers")

GOLDEN = Path(__file__).parents[1] / "golden"
B = 3


def written(tmp_path: Path, case: Case, params: Any, **options: Any) -> Path:
    file = tmp_path / "program.stablehlo"
    to_stablehlo(case.member, params, file, tokens=case.ids, **options)
    return file


def loaded(file: Path) -> Any:
    """The program, compiled as quickly as the tests' others."""
    program = export.deserialize(bytearray(file.read_bytes()))
    call = jax.jit(program.call, compiler_options=QUICK)
    return lambda *inputs: jax.device_get(call(*inputs))


def close(a: Any, b: Any) -> None:
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.shape == y.shape and x.dtype == y.dtype
        np.testing.assert_allclose(x, y, rtol=2e-6, atol=2e-6)


@quick_jit
def applied(member: Any, params: Any, carry: Any, xs: Any, mask: Any) -> Any:
    return member.apply(params, carry, xs, mask=mask)


@every_case
def test_programs_equal_the_member(case: Case, tmp_path: Path) -> None:
    """Any T and B, rows of length 0 and 1, NaN in the padding; two calls in a row where causal."""
    params, xs = case.init(), case.inputs(4, (B,))
    carry = case.carry((B,), params)
    lengths = jnp.array([4, 0, 1], jnp.int32)
    mask = r.length_mask(lengths, 4)
    program = loaded(written(tmp_path, case, params, lengths=True))
    ys, *after = program(poisoned(xs, mask), lengths, *jax.tree.leaves(carry))
    expected, outputs = applied(case.member, params, carry, xs, mask)
    close((ys, after), (outputs, jax.tree.leaves(expected)))
    if case.member.causal:
        again = program(xs, lengths, *after)
        carry, outputs = applied(case.member, params, expected, xs, mask)
        close(again, (outputs, *jax.tree.leaves(carry)))


@pytest.mark.parametrize(
    "name", ["elman-tanh", "lstm", "min-gru", "min-lstm", "lru", "stack", "lm-adaptive-softmax"]
)
def test_one_step_after_the_other_equals_the_whole(name: str, tmp_path: Path) -> None:
    (case,) = (case for case in CASES if case.name == name)
    params, xs = case.init(), case.inputs(5, (B,))
    carry = case.carry((B,), params)
    step = loaded(written(tmp_path, case, params, steps=1))
    state, outputs = jax.tree.leaves(carry), []
    for x in xs:
        ys, *state = step(x[None], *state)
        outputs.append(ys)
    whole = loaded(written(tmp_path, case, params))(xs, *jax.tree.leaves(carry))
    close((np.concatenate(outputs), *state), whole)


@pytest.mark.parametrize("merge", ["concat", "sum"])
def test_both_directions_in_a_stack(merge: Any, tmp_path: Path) -> None:
    def both(cell: Any) -> Any:
        return r.bidirectional(r.recurrent(cell), r.recurrent(cell, reverse=True), merge=merge)

    layer = r.serial(both(r.lstm(3)), r.dropout(0.5), both(r.gru(2)))
    case = Case("both", layer, ids=False)
    test_programs_equal_the_member(case, tmp_path)


@pytest.mark.parametrize("pooling", ["last", "mean", "max"])
def test_a_classifier_has_one_output_a_row(pooling: Any, tmp_path: Path) -> None:
    layer = r.recurrent(r.elman(3))
    model = r.sequence_classifier(2, layer, input_size=SIZE, pooling=pooling)
    test_programs_equal_the_member(Case("classifier", model, ids=False, model=True), tmp_path)
    about = json.loads((tmp_path / "program.stablehlo.json").read_text())
    assert about["outputs"][0] == {"name": "logits", "shape": ["B", 2], "dtype": "float32"}


@pytest.mark.parametrize("kind", [r.sliding(2), r.tail(2), r.chunked(2)], ids=str)
def test_truncation_is_left_out_and_mixed_precision_kept(
    kind: r.Truncation, tmp_path: Path
) -> None:
    model, params = r.mixed_precision(r.truncate(MODEL.member, kind)), MODEL.init()
    file = tmp_path / "narrow.stablehlo"
    to_stablehlo(model, params, file)
    carry, tokens = MODEL.carry((B,), params), MODEL.inputs(4, (B,))
    logits, *_ = loaded(file)(tokens, *jax.tree.leaves(carry))
    close(logits, applied(model, params, carry, tokens, None)[1])


def alone(file: Path, inputs: dict[str, Any], tmp_path: Path) -> dict[str, np.ndarray]:
    """What a process gives that has JAX and not this package."""
    given, results = tmp_path / "inputs.npz", tmp_path / "outputs.npz"
    np.savez(given, **inputs)
    command = [sys.executable, "-I", str(Path(__file__).with_name("alone.py"))]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    subprocess.run(
        [*command, str(file), str(given), str(results)],
        check=True, capture_output=True, cwd=tmp_path, env=environment,
    )  # fmt: skip
    with np.load(results) as found:
        return dict(found)


def test_a_program_runs_where_the_package_is_not(tmp_path: Path) -> None:
    params, tokens = MODEL.init(), MODEL.inputs(4, (B,))
    carry = MODEL.carry((B,), params)
    file = written(tmp_path, MODEL, params, lengths=True)
    lengths = jnp.array([4, 0, 2], jnp.int32)
    states = {f"carry_in.{i}": c for i, c in enumerate(jax.tree.leaves(carry))}
    found = alone(file, {"tokens": tokens, "lengths": lengths, **states}, tmp_path)
    mask = r.length_mask(lengths, 4)
    after, logits = applied(MODEL.member, params, carry, tokens, mask)
    assert list(found) == ["logits", "carry_out.0"]
    close(list(found.values()), (logits, after))


def test_what_stands_beside_a_program(tmp_path: Path) -> None:
    params = PLAIN.init()
    file = written(tmp_path, PLAIN, params, lengths=True)
    about = json.loads(Path(f"{file}.json").read_text())
    assert [(p["name"], p["shape"], p["dtype"]) for p in about["inputs"]] == [
        ("xs", ["T", "B", SIZE], "float32"),
        ("lengths", ["B"], "int32"),
        ("carry_in.0", ["B", 3], "float32"),
    ]
    assert [(p["name"], p["shape"]) for p in about["outputs"]] == [
        ("ys", ["T", "B", 3]),
        ("carry_out.0", ["B", 3]),
    ]
    assert about["platforms"] == ["cpu", "cuda", "tpu"]
    assert about["jax"] == about["oldest_jax"] == jax.__version__
    written(tmp_path, PLAIN, params, steps=2, batch_size=2, platforms=["cpu"])
    about = json.loads(Path(f"{file}.json").read_text())
    assert about["oldest_jax"] == "0.10.2" and about["platforms"] == ["cpu"]
    assert about["inputs"][0]["shape"] == [2, 2, SIZE]
    assert str(Path.cwd()).encode() not in file.read_bytes()  # no paths of this machine


def test_a_learned_carry_stands_beside_a_program(tmp_path: Path) -> None:
    for cell in (r.lstm(2, learned_carry=True), r.lru(2, learned_carry=True)):
        case = Case("learned", r.recurrent(cell), ids=False)
        params = case.init()
        file = written(tmp_path, case, params, steps=1, platforms=["cpu"])
        found = json.loads(Path(f"{file}.json").read_text())["initial_carry"]
        leaves = jax.tree.leaves(case.member.initial_carry((), params))
        for values, leaf in zip(found, leaves, strict=True):
            pairs = jnp.stack([leaf.real, leaf.imag], -1) if jnp.iscomplexobj(leaf) else leaf
            np.testing.assert_array_equal(np.float32(values), pairs)


def version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


@pytest.mark.parametrize("file", sorted(GOLDEN.glob("gru-*.stablehlo")), ids=lambda f: f.stem)
def test_programs_of_other_versions_are_read_as_they_say(file: Path) -> None:
    """Written by the oldest and by a newer JAX: with ones as input, from a carry of zeros.

    By hand, of ``recurrent(gru(8))`` as below, without options and with steps=3, batch_size=2.
    """
    about = json.loads(Path(f"{file}.json").read_text())
    try:
        program = loaded(file)
        ys, carry = program(jnp.ones((3, 2, 4)), jnp.zeros((2, 8)))
    except jax.errors.JaxRuntimeError:
        assert version(jax.__version__) < version(about["oldest_jax"])
        return
    assert version(jax.__version__) >= version(about["oldest_jax"])
    layer = r.recurrent(r.gru(8))
    params = layer.init(jax.random.key(0), 4)
    close((carry, ys), layer.apply(params, None, jnp.ones((3, 2, 4))))


DYNAMIC = r"stablehlo\.(dynamic_(?!slice|update_slice)\w+|real_dynamic_slice|custom_call)"


@pytest.mark.parametrize("case", (PLAIN, STACK, MODEL), ids=str)
def test_text_for_other_compilers(case: Case, tmp_path: Path) -> None:
    params, file = case.init(), tmp_path / "program.mlir"

    def dynamic(**options: Any) -> set[str]:
        to_stablehlo(case.member, params, file, **options)
        text = file.read_text()
        assert "func.func public @main" in text and "_platform_index" not in text
        assert str(Path(__file__).parents[2]) not in text
        return set(re.findall(DYNAMIC, text))

    assert dynamic(steps=4, batch_size=2, lengths=True) == set()
    assert dynamic(batch_size=2) <= {"custom_call", "dynamic_broadcast_in_dim"}
    assert "dynamic_reshape" in dynamic()


def refused(*args: Any, **options: Any) -> str:
    with pytest.raises(ValueError, match=r"^[^\n]+$") as error:
        to_stablehlo(*args, **options)
    return str(error.value)


def test_bad_input_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layer, file = PLAIN.member, tmp_path / "new" / "program.stablehlo"
    params = PLAIN.init()
    assert "wrap a cell with recurrent()" in refused(r.elman(3), params, file)
    assert "no streaming step" in refused(
        r.recurrent(r.elman(3), reverse=True), params, file, steps=1
    )
    model = r.encoder_decoder(5, layer, r.language_model(5, layer))
    assert "reads two sequences" in refused(model, model.init(KEY), file)
    assert "parameters of its own init" in refused(layer, {"w": jnp.ones(3)}, file)
    assert "parameters of its own init" in refused(layer, {"w": 1.0}, file)
    assert "input_size=" in refused(layer, params, file, input_size=7, tokens=False)
    assert "input_size=" in refused(r.dropout(0.5), {}, file, tokens=False)
    assert "steps must be" in refused(layer, params, file, steps=0)
    assert "some of cpu, cuda" in refused(layer, params, file, platforms=["gpu"])
    assert "one platform" in refused(layer, params, tmp_path / "a.mlir", platforms=["cpu", "tpu"])
    assert "choose another path" in refused(layer, params, Path(__file__) / "a.stablehlo")
    monkeypatch.setitem(sys.modules, "flatbuffers", None)
    assert "pip install 'rnn-jax-functional[stablehlo]'" in refused(layer, params, file)
    assert list(tmp_path.iterdir()) == []
