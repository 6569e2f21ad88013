#!/usr/bin/env bash
# JAX's persistent compilation cache is meant to be shared by processes, and on clusters by hosts. One
# would expect an entry to be written under another name and renamed, so that it is there whole or
# not at all. It is written under its own name, and nothing is locked unless the cache has a size
# limit (`jax_compilation_cache_max_size`, which needs the package filelock). A process that looks while
# another one writes reads a part, warns that the entry cannot be read, and compiles the program itself:
# its results are right, but where warnings are errors, as in many test suites, it fails now and then. With
# a size limit reading and writing take a lock.
#
# Output seen (jax 0.10.2, Linux; written in place or not, renamed or not, lock or not, warnings, result):
#   first: in place - - 0 7.0
#   again: - - - 0 7.0
#   while it is written: - - - 1 7.0
#   with a limit: in place - lock 0 7.0
# Exits 1 if this changes.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PIP_QUIET=1 PIP_DISABLE_PIP_VERSION_CHECK=1

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install jax==0.10.2 jaxlib==0.10.2 filelock

cat > "$work/use.py" <<'EOF'
"""Compile one program with a cache in the folder given; say what files were opened and renamed."""

import sys
import warnings
from pathlib import Path

folder, limit = Path(sys.argv[1]), int(sys.argv[2])
seen = []
sys.addaudithook(
    lambda event, details: seen.append((event, str(details[0]), str(details[1])))
    if event in ("open", "os.rename")
    else None
)
import jax

jax.config.update("jax_compilation_cache_dir", str(folder))
jax.config.update("jax_compilation_cache_max_size", limit)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    result = float(jax.jit(lambda x: 2 * x + 1)(3.0))
here = [(event, Path(name).name, mode) for event, name, mode in seen if name.startswith(str(folder))]
in_place = any(e == "open" and n.endswith("-cache") and mode.startswith("w") for e, n, mode in here)
renamed = any(e == "os.rename" for e, _, _ in here)
locked = any(n.endswith(".lockfile") for n in (p.name for p in folder.iterdir()))
unread = sum("Error reading persistent compilation cache entry" in str(w.message) for w in caught)
print("in place" if in_place else "-", "renamed" if renamed else "-", "lock" if locked else "-", unread, result)
EOF
use() { JAX_PLATFORMS=cpu "$work/venv/bin/python" "$work/use.py" "$@" 2>/dev/null; }

mkdir "$work/free" "$work/limited"
first=$(use "$work/free" -1)
again=$(use "$work/free" -1)
# What a process finds that looks too early: the first half of each entry.
for entry in "$work"/free/*-cache; do
    half=$(($(stat -c %s "$entry") / 2))
    truncate -s "$half" "$entry"
done
early=$(use "$work/free" -1)
limited=$(use "$work/limited" 1000000000)
found=$(printf 'first: %s\nagain: %s\nwhile it is written: %s\nwith a limit: %s' "$first" "$again" "$early" "$limited")
expected='first: in place - - 0 7.0
again: - - - 0 7.0
while it is written: - - - 1 7.0
with a limit: in place - lock 0 7.0'
echo "$found"
[ "$found" = "$expected" ] || { echo "expected: $expected" >&2; exit 1; }
