"""What a peer provides: an implementation of a workload, prepared pass by pass."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.measuring.timing import fastest
from benchmarks.measuring.workloads import Arrays

__all__ = [
    "LEARNING_RATE",
    "PASSES",
    "STEPS",
    "TRIED",
    "UNROLLED",
    "Implementation",
    "JaxImplementation",
    "Prepared",
    "Program",
    "Unavailable",
    "compile_jax",
    "wait",
]

# The loss is sum(ys * weights). "forward": ys; "forward+backward": the loss and its gradient with
# respect to parameters and inputs; "many-steps": STEPS steps of SGD on the parameters in one call.
PASSES = ("forward", "forward+backward", "many-steps")
STEPS = 20
# Small, for the loss is a sum; large enough that an update stands well above rounding.
LEARNING_RATE = 1e-5
# Steps that one iteration of a loop may take, where a library leaves that to its user.
UNROLLED = (4,)
# Forms of a layer are tried on so many steps at most: which is best is decided by the work of one.
TRIED = 128
_BY_STEP = ("xs", "weights")


class Unavailable(Exception):
    """A peer that is not installed, or lacks what was asked for; the message is the reason."""


@dataclass(frozen=True)
class Prepared:
    """A compiled pass: ``call()`` runs it to its end, ``result()`` returns its results.

    Results are in the workload's names and layouts: ``ys``; ``loss`` and the gradients of ``xs``
    and of every parameter; or the updates of the parameters, after minus before.

    temp_bytes, peak_bytes: temporaries by the compiler's account, and all of the program's memory
      at its fullest.
    start: runs it without waiting; None where the two cannot be separated.
    steps: steps that one call takes.
    equations: a name of `benchmarks.measuring.oracle.EQUATIONS`.
    text: the compiled program.
    wait: waits for the end of what ``start`` returned.
    facts: what its row states besides, asked for when it has been timed.
    laps: seconds of each step of the last call, where it waits for every one.
    """

    call: Callable[[], object]
    result: Callable[[], Arrays]
    compile_s: float | None = None
    temp_bytes: int | None = None
    peak_bytes: int | None = None
    start: Callable[[], Any] | None = None
    steps: int = 1
    equations: str | None = None
    text: Callable[[], str] | None = None
    wait: Callable[[Any], object] = jax.block_until_ready
    facts: Callable[[], Mapping[str, Any]] | None = None
    laps: Callable[[], Sequence[float]] | None = None


class Implementation(Protocol):
    """One implementation of one workload, with weights of its own."""

    @property
    def equations(self) -> str:
        """A name of `benchmarks.measuring.oracle.EQUATIONS`: what it computes."""
        ...

    def prepare(self, pass_name: str) -> Prepared:
        """Compile a pass of `PASSES`; `Unavailable` where there is no such thing."""
        ...


@dataclass(frozen=True)
class Program:
    """A compiled function of JAX, with what its compiler states about it."""

    run: Any
    compile_s: float

    def prepared(
        self,
        call: Callable[[], object],
        result: Callable[[], Arrays],
        start: Callable[[], Any],
        *,
        steps: int = 1,
        equations: str | None = None,
    ) -> Prepared:
        """The pass, with the program's memory and text."""
        memory = self.run.memory_analysis()
        peak = getattr(memory, "peak_memory_in_bytes", 0) or None
        temporaries = None if memory is None else int(memory.temp_size_in_bytes)
        return Prepared(
            call, result, self.compile_s, temporaries, peak, start, steps, equations,
            self.run.as_text,
        )  # fmt: skip


def compile_jax(
    function: Callable[..., Any], *arguments: Any, donate: Any = (), keep_unused: bool = False
) -> Program:
    """``function`` for arguments such as these; those of index ``donate`` are given away."""
    began = time.perf_counter()
    jitted = jax.jit(function, donate_argnums=donate, keep_unused=keep_unused)
    compiled = jitted.lower(*arguments).compile()
    return Program(compiled, time.perf_counter() - began)


wait: Any = jax.block_until_ready


@dataclass(frozen=True)
class JaxImplementation:
    """An implementation that is a pure function of its parameters and the inputs.

    apply: ``(params, xs) -> ys``, which does its own input product; jitted here.
    params: any tree of arrays.
    to_workload: a tree such as ``params`` to the workload's names and layout. It maps differences
      and gradients, so it must be linear: no offsets.
    arrays: those of the workload.
    batch_major: whether ``apply`` wants ``[B, T, …]``; the arrays are transposed here once.
    unrolled: by how many steps an iteration takes, the same function so; the fastest is timed.
    """

    equations: str
    apply: Callable[[Any, jax.Array], jax.Array]
    params: Any
    to_workload: Callable[[Any], dict[str, Any]]
    arrays: Arrays
    batch_major: bool = False
    unrolled: Mapping[int, Callable[[Any, jax.Array], jax.Array]] = field(default_factory=dict)

    def prepare(self, pass_name: str) -> Prepared:
        """See `Implementation`."""
        if not self.unrolled:
            return self._prepare(pass_name)
        forms = {1: self.apply, **self.unrolled}
        few = self.arrays | {name: self.arrays[name][:TRIED] for name in _BY_STEP}
        tried = {
            steps: replace(self, apply=apply, unrolled={}, arrays=few)._prepare(pass_name)
            for steps, apply in forms.items()
        }
        best = fastest({steps: form.call for steps, form in tried.items()})
        chosen = tried[best]
        if len(self.arrays["xs"]) > TRIED:
            chosen = replace(self, apply=forms[best], unrolled={})._prepare(pass_name)
        return replace(chosen, facts=lambda: {"unroll": best})

    def _prepare(self, pass_name: str) -> Prepared:
        params = jax.tree.map(jnp.asarray, self.params)
        xs, weights = (jnp.asarray(self._turn(self.arrays[name])) for name in _BY_STEP)

        def loss(params: Any, xs: jax.Array, weights: jax.Array) -> jax.Array:
            return jnp.sum(self.apply(params, xs) * weights)

        def forward(params: Any, xs: jax.Array, weights: jax.Array) -> Any:
            return self.apply(params, xs)

        def many_steps(params: Any, xs: jax.Array, weights: jax.Array) -> Any:
            def step(params: Any, _: None) -> tuple[Any, jax.Array]:
                value, gradient = jax.value_and_grad(loss)(params, xs, weights)
                return jax.tree.map(lambda p, g: p - LEARNING_RATE * g, params, gradient), value

            return lax.scan(step, params, None, length=STEPS)

        gradient = jax.value_and_grad(loss, argnums=(0, 1))
        function = dict(zip(PASSES, (forward, gradient, many_steps), strict=True))[pass_name]
        program = compile_jax(function, params, xs, weights)

        def call() -> Any:
            return wait(program.run(params, xs, weights))

        def result() -> Arrays:
            got: dict[str, Any]
            if pass_name == "forward":
                got = {"ys": self._turn(call())}
            elif pass_name == "forward+backward":
                value, (by_params, by_xs) = call()
                got = {"loss": value, "xs": self._turn(by_xs), **self.to_workload(by_params)}
            else:
                after, _ = call()
                got = self.to_workload(jax.tree.map(lambda a, b: a - b, after, params))
            return {name: np.asarray(array) for name, array in got.items()}

        return program.prepared(
            call,
            result,
            lambda: program.run(params, xs, weights),
            steps=STEPS if pass_name == "many-steps" else 1,
            equations=self.equations,
        )

    def _turn(self, array: Any) -> Any:
        return array.swapaxes(0, 1) if self.batch_major else array
