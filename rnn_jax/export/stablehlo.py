"""Layers and models as StableHLO: programs that JAX runs without this package."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, cast

import jax
import numpy as np

from rnn_jax.export.signature import Program, program_of, struct_of
from rnn_jax.host.checks import positive
from rnn_jax.host.files import atomic_path, reason
from rnn_jax.jaxprs import portable
from rnn_jax.types import Layer, Model, Params

__all__ = ["to_stablehlo"]

Platform = Literal["cpu", "cuda", "rocm", "tpu"]
_KNOWN: tuple[Platform, ...] = ("cpu", "cuda", "rocm", "tpu")
_FORMAT = "rnn_jax StableHLO 1"
# The oldest JAX that the package supports; what newer ones write of fixed shapes it reads as well.
_OLDEST = "0.10.2"
_LARGEST = 2**31 - 1  # bytes of a flatbuffer


def to_stablehlo(
    layer_or_model: Layer | Model,
    params: Params,
    file: str | os.PathLike[str],
    *,
    lengths: bool = False,
    steps: int | None = None,
    batch_size: int | None = None,
    input_size: int | None = None,
    tokens: bool | None = None,
    platforms: Sequence[Platform] | None = None,
) -> None:
    """Write a layer or model with its parameters as a StableHLO program, T and B free.

    A file whose name ends in ``.mlir`` is MLIR text, for compilers that read StableHLO; any other
    is an artefact of ``jax.export``, which JAX runs without this package::

        from pathlib import Path
        from jax import export

        program = export.deserialize(bytearray(Path(file).read_bytes()))
        ys, *carry = program.call(xs, *carry)

    The calling convention is flat, and that of `to_onnx`:

    | | name | | |
    |---|---|---|---|
    | in | ``xs`` | ``float[T, B, D]`` | or ``tokens``, ``int32[T, B]`` |
    | in | ``lengths`` | ``int32[B]`` | only if asked for; what follows in a row is padding |
    | in | ``carry_in.0`` … | ``[B, …]`` | ``jax.tree.leaves(initial_carry((B,)))``, in order |
    | out | ``ys`` | ``float[T, B, H]`` | of a model ``logits``, ``[T, B, V]`` or ``[B, C]`` |
    | out | ``carry_out.0`` … | ``[B, …]`` | the carry to hand in at the next call |

    An initial carry is zeros unless it is learned. Of what is causal, a sequence may be cut into
    calls anywhere, also into single steps: with ``steps=1`` the program is the streaming one, a
    step without a loop. A row of length 0 keeps its carry. Outputs of a layer are zero in the
    padding, logits are those of zeros; an id outside the vocabulary gives NaN. Dropout and other
    noise are left out.

    Beside the file, under its name and ``.json``, stand the names, shapes and dtypes of inputs and
    outputs, whether it is causal, a learned initial carry (of one row; complex numbers as pairs),
    the platforms, and the versions of JAX: that which wrote the file, and the oldest that reads it.
    Fixed shapes (both ``steps`` and ``batch_size``) are read by JAX 0.10.2 and newer, free ones
    only by the version that wrote them and newer ones. So export with the oldest JAX that is to run
    the program.

    The parameters are constants of the program: the file is all that a program needs, its calls
    take what changes from call to call, and XLA lays the matrices out once, when it compiles.
    Whoever wants to exchange weights keeps them with `rnn_jax.interop.save_params`.

    The text is of one platform. With ``batch_size`` given and no ``lengths`` it has no
    ``dynamic_reshape``, at which compilers other than XLA stop, whatever ``steps`` is; of fixed
    shapes it has no dynamic operation at all.

    Args:
      layer_or_model: a `Layer`, or a `Model` that reads one sequence.
      params: its parameters.
      file: the path; ``.mlir`` for text.
      lengths: whether the rows' lengths are an input.
      steps: ``T``; None leaves it free, 1 or more at every call.
      batch_size: ``B``; None leaves it free, 1 or more.
      input_size: ``D``; None: told by the parameters.
      tokens: whether the input is token ids, which a layer reads as one-hot vectors; None: only if
        it reads nothing else, as language models and embeddings.
      platforms: those it is compiled for, of "cpu", "cuda", "rocm" and "tpu". None: "cpu", "cuda"
        and "tpu"; of text, "cpu".

    Raises:
      ValueError: something that is no layer or model, or an encoder-decoder; the streaming step of
        a layer that reads later inputs; parameters that do not fit, or of 2 GiB and more; an
        unknown platform, or several for text; a file that cannot be written; flatbuffers is not
        installed (``pip install 'rnn-jax-functional[stablehlo]'``).

    Example:
      >>> import pathlib, tempfile, jax.numpy as jnp, rnn_jax
      >>> model = rnn_jax.language_model(50, rnn_jax.recurrent(rnn_jax.gru(8)))
      >>> params = model.init(jax.random.key(0))
      >>> file = pathlib.Path(tempfile.mkdtemp()) / "model.stablehlo"
      >>> to_stablehlo(model, params, file)
      >>> program = jax.export.deserialize(bytearray(file.read_bytes()))
      >>> tokens = jnp.array([[3, 1], [4, 1], [5, 9]])
      >>> logits, carry = program.call(tokens, jnp.zeros((2, 8)))
      >>> bool(jnp.allclose(logits, model.apply(params, None, tokens)[1], atol=1e-6))
      True

    Reference:
      https://docs.jax.dev/en/latest/export/export.html
    """
    path = Path(file)
    text = path.suffix == ".mlir"
    for name, size in (("steps", steps), ("batch_size", batch_size), ("input_size", input_size)):
        if size is not None:
            positive(**{name: size})
    on = _checked(platforms, text)
    what: Any = {"lengths": lengths, "input_size": input_size, "tokens": tokens}
    program = program_of(layer_or_model, params, what="to_stablehlo", **what)
    if steps == 1 and not layer_or_model.causal:
        raise ValueError(
            f"the {type(layer_or_model).__name__} reads later inputs and has no streaming step: "
            "leave steps out"
        )
    size = sum(getattr(leaf, "nbytes", 0) for leaf in jax.tree.leaves(params))
    if not text and size > _LARGEST:
        raise ValueError(
            f"parameters of {size / 2**30:.1f} GiB are too many for jax.export, whose artefacts "
            "end at 2: give it narrower ones, such as bfloat16"
        )
    exported = _exported(program, steps, batch_size, on)
    written = f"{exported.mlir_module()}".encode() if text else _serialized(exported)
    about = {
        **_ports(program, exported),
        **_initial(program),
        "causal": layer_or_model.causal,
        "platforms": list(exported.platforms),
        "jax": jax.__version__,
        "oldest_jax": jax.__version__ if None in (steps, batch_size) else _OLDEST,
    }
    beside = (json.dumps({"format": _FORMAT, **about}, indent=2) + "\n").encode()
    try:
        for target, content in ((path, written), (path.with_name(f"{path.name}.json"), beside)):
            with atomic_path(target) as temporary:
                temporary.write_bytes(content)
    except OSError as error:
        raise ValueError(f"cannot write {path} ({reason(error)}): choose another path") from None


def _checked(platforms: Sequence[Platform] | None, text: bool) -> tuple[Platform, ...]:
    if platforms is None:
        return ("cpu",) if text else ("cpu", "cuda", "tpu")
    given = tuple(platforms)
    if not given or not set(given) <= set(_KNOWN):
        raise ValueError(f"platforms must be some of {', '.join(_KNOWN)}, not {platforms!r}")
    if text and len(given) > 1:
        raise ValueError(f"the text of a program is of one platform: choose one of {platforms!r}")
    return given


def _exported(
    program: Program, steps: int | None, batch_size: int | None, platforms: tuple[Platform, ...]
) -> Any:
    from jax import export

    T, B = export.symbolic_shape(f"{steps or 'T'}, {batch_size or 'B'}")
    structs = [struct_of(port, {"T": T, "B": B}) for port in program.inputs]
    with _no_paths(), portable():
        return export.export(jax.jit(program.run), platforms=platforms)(*structs)


@contextmanager
def _no_paths() -> Iterator[None]:
    """Keep the places in files of this machine out of what is written."""
    name, config = "jax_traceback_in_locations_limit", cast(Any, jax.config)
    before = getattr(config, name)
    config.update(name, 0)
    try:
        yield
    finally:
        config.update(name, before)


def _serialized(exported: Any) -> bytes:
    try:
        import flatbuffers  # noqa: F401
    except ImportError:
        raise ValueError(
            "jax.export writes its artefacts with flatbuffers, which is not installed: pip install "
            "'rnn-jax-functional[stablehlo]'"
        ) from None
    return bytes(exported.serialize())


def _ports(program: Program, exported: Any) -> dict[str, list[dict[str, Any]]]:
    def listed(names: Sequence[str], avals: Sequence[Any]) -> list[dict[str, Any]]:
        return [
            {
                "name": name,
                "shape": [n if isinstance(n, int) else str(n) for n in aval.shape],
                "dtype": str(aval.dtype),
            }
            for name, aval in zip(names, avals, strict=True)
        ]

    inputs = [port.name for port in program.inputs]
    return {
        "inputs": listed(inputs, exported.in_avals),
        "outputs": listed(program.outputs, exported.out_avals),
    }


def _initial(program: Program) -> dict[str, Any]:
    """The initial carry where it is not zeros; complex numbers as pairs."""
    if not any(leaf.any() for leaf in program.initial):
        return {}
    pairs = (
        np.stack([leaf.real, leaf.imag], -1) if np.iscomplexobj(leaf) else leaf
        for leaf in program.initial
    )
    return {"initial_carry": [leaf.tolist() for leaf in pairs]}
