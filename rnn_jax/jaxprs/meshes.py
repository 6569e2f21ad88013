"""Meshes: over which axes an array differs or is laid out, and clusters of machines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec

from rnn_jax.jaxprs.programs import UNREADABLE

__all__ = [
    "cluster",
    "in_auto_mode",
    "spec_of",
    "sum_over",
    "vary_alike",
    "vary_over",
    "varying_axes",
]


def cluster(seconds: float) -> tuple[str, int, int, list[int] | None] | None:
    """What `jax.distributed.initialize` would find out by itself of the cluster around it.

    Where process 0 is, how many there are, which one this is, and its devices on this machine, None
    for all of them. None where there is no cluster that it knows.
    """
    try:
        from jax._src.clusters import ClusterEnv

        found = ClusterEnv.auto_detect_unset_distributed_params(
            None, None, None, None, None, int(seconds)
        )
        address, count, number, devices = found
    except (*UNREADABLE, ImportError):
        return None
    if address is None or count is None or number is None:
        return None
    return address, int(count), int(number), None if devices is None else list(devices)


def _type_of(leaf: Any) -> Any:
    return jax.typeof(leaf) if isinstance(leaf, jax.Array) else None


def varying_axes(*trees: Any) -> frozenset[str]:
    """The mesh axes over which some leaf differs, inside ``jax.shard_map``; none outside of it.

    None, too, where JAX does not keep track of them (``check_vma=False``).

    Example:
      >>> varying_axes(jnp.ones(2), None)
      frozenset()
    """

    def axes(leaf: Any) -> frozenset[str]:
        kind = _type_of(leaf)
        found = getattr(getattr(kind, "manual_axis_type", None), "varying", None)
        return frozenset(getattr(kind, "vma", ()) if found is None else found)

    return frozenset[str]().union(*map(axes, jax.tree.leaves(trees)))


def vary_over(axes: frozenset[str], tree: Any) -> Any:
    """``tree`` with the type of one that differs over ``axes``; its values are the same.

    A scan's carry must have one type throughout, and cotangents of a function with a derivative of
    its own must have those of the arguments. JAX sums the cotangent of what is cast here.
    """

    def one(leaf: Any) -> Any:
        missing = tuple(sorted(axes - varying_axes(leaf)))
        return jax.lax.pcast(leaf, missing, to="varying") if missing else leaf

    return jax.tree.map(one, tree) if axes else tree


def vary_alike(tree: Any) -> Any:
    """``tree`` with every leaf varying over all axes over which one of them does."""
    return vary_over(varying_axes(tree), tree)


def sum_over(axis_name: str, tree: Any) -> Any:
    """The sum of a tree over the devices of a mesh axis, the same on all: one all-reduce."""
    return lax.psum(tree, axis_name)  # type: ignore[no-untyped-call]


def spec_of(array: Any) -> tuple[Any, ...]:
    """By axis, the Explicit mesh axes over which an array is laid out, None for none.

    Example:
      >>> spec_of(jnp.ones((3, 2)))
      (None, None)
    """
    spec = getattr(getattr(_type_of(array), "sharding", None), "spec", ())
    return (*spec, *(None,) * (jnp.ndim(array) - len(spec)))


def in_auto_mode(function: Callable[..., Any], args: tuple[Any, ...], layouts: Any) -> Any:
    """``function(*args)`` with the compiler in charge of layouts, even on a mesh of Explicit axes.

    With Explicit axes the layout of an array is part of its type, and JAX refuses what leaves that
    of a result open: to merge sharded axes, to select rows by sharded ids, to scan from a carry of
    another layout. Where no argument is laid out over such an axis, this is the call itself.

    Args:
      function: from the arguments to a tuple of trees, ``len(layouts)`` of them.
      args: trees of arrays and of anything else.
      layouts: a tuple, for each result a tuple as `spec_of` gives it, for all its leaves; or a list
        of such, leaf by leaf.
    """
    leaves, tree = jax.tree.flatten(args)
    arrays = [i for i, leaf in enumerate(leaves) if isinstance(leaf, jax.Array)]
    laid_out = [leaves[i] for i in arrays if any(s is not None for s in spec_of(leaves[i]))]
    if not laid_out:
        return function(*args)
    mesh = _type_of(laid_out[0]).sharding.mesh
    if jax.sharding.get_abstract_mesh().empty:  # outside jit and set_mesh; the array has devices
        mesh = getattr(getattr(laid_out[0], "sharding", None), "mesh", mesh)
    structures: list[Any] = []

    def by_leaves(*traced: Any) -> tuple[list[Any], ...]:
        given = list(leaves)
        for i, array in zip(arrays, traced, strict=True):
            given[i] = array
        results = function(*jax.tree.unflatten(tree, given))
        structures[:] = [jax.tree.structure(result) for result in results]
        return tuple(jax.tree.leaves(result) for result in results)

    def sharding(layout: Any) -> Any:
        if isinstance(layout, list):
            return [sharding(one) for one in layout]
        return NamedSharding(mesh, PartitionSpec(*layout))  # type: ignore[no-untyped-call]

    auto = jax.sharding.auto_axes(
        by_leaves, axes=mesh.abstract_mesh.explicit_axes, out_sharding=tuple(map(sharding, layouts))
    )
    results = auto(*(leaves[i] for i in arrays))
    return tuple(map(jax.tree.unflatten, structures, results))
