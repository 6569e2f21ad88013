#!/usr/bin/env bash
# NumPy's wheels bring OpenBLAS. Once a product of matrices has returned, OpenBLAS's threads wait for
# the next one at full speed, for 2^28 ticks of the processor's clock, which is 0.1 s at 2.6 GHz. All
# that while the process keeps its cores busy although it does nothing, and another library in the
# same process shares the cores with them: on two cores a recurrent layer of XLA took 11 ms after
# a product of NumPy and 7 ms otherwise, one of PyTorch 17 ms and 8.5 (seen apart from the program
# below, which reads the processor's time alone). So a benchmark that lets NumPy and
# others take turns makes the others look slow, and so does a loop that feeds a network from NumPy.
# An untimed call between them does not help if it is shorter than 0.1 s. The variable
# OPENBLAS_THREAD_TIMEOUT, read when NumPy is imported, sets the exponent: with 20 the threads wait
# for 0.4 ms, which bridges the gap between the products of a loop. Measured on x86-64.
#
# Output seen (the processor time that a process took while it slept for 60 ms after a product):
#   numpy 2.4.6  as it is: more than 40 ms; with OPENBLAS_THREAD_TIMEOUT=20: less than 10 ms
# Needs two cores. Exits 1 if this changes.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PIP_QUIET=1 PIP_DISABLE_PIP_VERSION_CHECK=1
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install "numpy==2.4.6"

cat >"$work/program.py" <<'PYTHON'
import time

import numpy as np

matrix = np.random.default_rng(0).standard_normal((512, 512), np.float32)
took = []
for _ in range(5):
    matrix @ matrix
    before = time.process_time()
    time.sleep(0.06)
    took.append((time.process_time() - before) * 1e3)
took = sorted(took)[2]
print("more than 40 ms" if took > 40 else "less than 10 ms" if took < 10 else f"{took:.0f} ms")
PYTHON

unset OPENBLAS_THREAD_TIMEOUT OPENBLAS_NUM_THREADS OMP_NUM_THREADS
own=$("$work/venv/bin/python" "$work/program.py")
short=$(OPENBLAS_THREAD_TIMEOUT=20 "$work/venv/bin/python" "$work/program.py")
version=$("$work/venv/bin/python" -c 'import numpy; print(numpy.__version__)')
line="numpy $version  as it is: $own; with OPENBLAS_THREAD_TIMEOUT=20: $short"
echo "$line"
expected='numpy 2.4.6  as it is: more than 40 ms; with OPENBLAS_THREAD_TIMEOUT=20: less than 10 ms'
[ "$line" = "$expected" ] || { echo "expected: $expected" >&2; exit 1; }
