"""All-reduces are found in texts whose content is known."""

from __future__ import annotations

from benchmarks.measuring.compiled import AllReduce, all_reduces

NESTED = """\
HloModule jit_step

%add (a: f32[], b: f32[]) -> f32[] {
  ROOT %sum = f32[] add(%a, %b)
}

%inner (p: (s32[], bf16[2,3])) -> (s32[], bf16[2,3]) {
  %halves = bf16[2,3]{1,0} all-reduce(%x), channel_id=1, to_apply=%add
  ROOT %t = (s32[], bf16[2,3]{1,0}) tuple(%i, %halves)
}

%outer (p: (s32[], bf16[2,3])) -> (s32[], bf16[2,3]) {
  ROOT %w = (s32[], bf16[2,3]{1,0}) while(%p), condition=%c, body=%inner, TRIPS
}

ENTRY %main (p: f32[4]) -> f32[4] {
  %w = (s32[], bf16[2,3]{1,0}) while(%p), condition=%c, body=%outer, \
backend_config={"known_trip_count":{"n":"5"}}
  %both = (f32[4]{0}, /*index=1*/s8[3]{0}, pred[]) all-reduce-start(%a, %b, %c), to_apply=%add
  %fused = f32[4]{0} fusion(%all-reduce.1), kind=kLoop, calls=%add
}
"""


def test_bytes_loops_and_runs() -> None:
    trips = 'backend_config={"known_trip_count":{"n":"7"}}'
    inner, outer = all_reduces(NESTED.replace("TRIPS", trips))
    assert inner == AllReduce(bytes=12, loops=2, runs=35)
    assert outer == AllReduce(bytes=16 + 3 + 1, loops=0, runs=1)


def test_a_loop_that_does_not_say_how_often_it_goes_round() -> None:
    inner, outer = all_reduces(NESTED.replace("TRIPS", "metadata={}"))
    assert (inner.loops, inner.runs) == (2, None)
    assert outer.runs == 1


def test_none() -> None:
    assert all_reduces("") == []
