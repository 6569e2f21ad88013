#!/usr/bin/env bash
# The first step of some of optax 0.2.8's optimisers cannot be donated: their fresh state holds the
# parameters themselves, or one array twice, and JAX refuses to give one buffer away twice. The usual
# step, jit with donate_argnums=(0, 1) for parameters and state, works with adam and raises for
# lbfgs, prodigy, dog, dowg, madgrad and cocob.
#
# A copy of each leaf of the fresh state is the remedy; after one step the arrays are distinct.
#
# Output seen:
#   jax 0.10.2, optax 0.2.8
#   adam       steps
#   lbfgs      Attempt to donate the same buffer twice
#   prodigy    Attempt to donate the same buffer twice
#   dog        Attempt to donate the same buffer twice
#   dowg       Attempt to donate the same buffer twice
#   madgrad    Attempt to donate the same buffer twice
#   cocob      Attempt to donate the same buffer twice
# and "steps" for each of them after a copy. Exits 1 if this changes.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PIP_QUIET=1 PIP_DISABLE_PIP_VERSION_CHECK=1 JAX_PLATFORMS=cpu
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install jax==0.10.2 jaxlib==0.10.2 optax==0.2.8

cat >"$work/program.py" <<'PYTHON'
import re

import jax
import jax.numpy as jnp
import optax

OPTIMIZERS = {
    "adam": optax.adam(0.01),
    "lbfgs": optax.lbfgs(0.01),
    "prodigy": optax.contrib.prodigy(),
    "dog": optax.contrib.dog(0.01),
    "dowg": optax.contrib.dowg(),
    "madgrad": optax.contrib.madgrad(0.01),
    "cocob": optax.contrib.cocob(),
}


def loss(params):
    return (params["w"] ** 2).sum()


def outcome(optimizer, copy):
    """What two steps with parameters and state donated come to."""
    params = {"w": jnp.ones(3)}
    state = optimizer.init(params)
    if copy:
        state = jax.tree.map(jnp.copy, state)
    update = optax.with_extra_args_support(optimizer).update

    def step(params, state):
        value, grads = jax.value_and_grad(loss)(params)
        updates, state = update(grads, state, params, value=value, grad=grads, value_fn=loss)
        return optax.apply_updates(params, updates), state

    step = jax.jit(step, donate_argnums=(0, 1))
    try:
        for _ in range(2):
            params, state = step(params, state)
    except Exception as error:
        found = re.search("Attempt to donate the same buffer twice", str(error))
        return found[0] if found else str(error)
    return "steps"


print(f"jax {jax.__version__}, optax {optax.__version__}")
for name, optimizer in OPTIMIZERS.items():
    print(f"{name:<10} {outcome(optimizer, copy=False)}")
    if outcome(optimizer, copy=True) != "steps":
        print(f"{name:<10} not after a copy, either")
PYTHON

# What XLA logs beside the exception is left out.
seen=$("$work/venv/bin/python" "$work/program.py" 2>/dev/null)
echo "$seen"
twice='Attempt to donate the same buffer twice'
expected=$(
    echo 'jax 0.10.2, optax 0.2.8'
    echo 'adam       steps'
    for name in lbfgs prodigy dog dowg madgrad cocob; do printf '%-10s %s\n' "$name" "$twice"; done
)
[ "$seen" = "$expected" ] || { echo "expected: $expected" >&2; exit 1; }
