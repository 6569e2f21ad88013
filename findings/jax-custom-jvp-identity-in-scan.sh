#!/usr/bin/env bash
# In JAX 0.10.2 the second derivative of a scan is wrong if its body calls a function that returns
# its argument and has a derivative of its own by jax.custom_jvp (a factor on a gradient, say).
#
# The value and the first derivative are right, and so is the second by jacfwd of jacfwd; grad of
# grad treats the function as a plain identity, and nothing is said. The same loop written out in
# Python is right, and so is the scan in JAX 0.12.0.1.
#
# Output seen (second derivative of a geometric sum whose carry's gradient is halved at each step):
#   jax 0.10.2    grad of grad: scan 5.45, loop 3.40    jacfwd of jacfwd: scan 3.40
#   jax 0.12.0.1  grad of grad: scan 3.40, loop 3.40    jacfwd of jacfwd: scan 3.40
# The second line needs Python 3.12 or newer and is left out without one. Exits 1 if this changes.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PIP_QUIET=1 PIP_DISABLE_PIP_VERSION_CHECK=1 JAX_PLATFORMS=cpu

cat >"$work/program.py" <<'PYTHON'
import jax
import jax.numpy as jnp


@jax.custom_jvp
def halved(c):
    """c, its derivative times 1/2."""
    return c


halved.defjvps(lambda tangent, result, c: 0.5 * tangent)


def by_scan(a):
    def body(c, x):
        c = a * halved(c) + x
        return c, c

    return jax.lax.scan(body, jnp.ones(()), jnp.ones(3))[1].sum()


def by_loop(a):
    c, total = jnp.ones(()), 0.0
    for x in jnp.ones(3):
        c = a * halved(c) + x
        total = total + c
    return total


def twice(derivative, f):
    return float(derivative(derivative(f))(0.7))


print(
    f"jax {jax.__version__:<8}  grad of grad: scan {twice(jax.grad, by_scan):.2f}, "
    f"loop {twice(jax.grad, by_loop):.2f}    "
    f"jacfwd of jacfwd: scan {twice(jax.jacfwd, by_scan):.2f}"
)
PYTHON

# The program's line under JAX version $2 and the interpreter $1.
line() {
    "$1" -m venv "$work/$2"
    "$work/$2/bin/pip" install "jax==$2" "jaxlib==$2"
    "$work/$2/bin/python" "$work/program.py"
}

status=0
expect() {
    echo "$1"
    [ "$1" = "$2" ] || { echo "expected: $2" >&2; status=1; }
}

expect "$(line python3 0.10.2)" \
    'jax 0.10.2    grad of grad: scan 5.45, loop 3.40    jacfwd of jacfwd: scan 3.40'
for candidate in python3.14 python3.13 python3.12; do
    if "$candidate" -c 'import ensurepip' &>/dev/null; then
        expect "$(line "$candidate" 0.12.0.1)" \
            'jax 0.12.0.1  grad of grad: scan 3.40, loop 3.40    jacfwd of jacfwd: scan 3.40'
        break
    fi
done
exit "$status"
