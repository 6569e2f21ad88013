"""What reads a text for training, a file a library; each runs in a process of its own.

A file has two functions, which `benchmarks.measuring.worker.Worker` calls with paths and sizes.
What they give are functions, too::

    tokenising(level, processes) -> {"run": (text, out) -> None, "tokens": (text, out) -> tokens}
    feeding(tokens, steps, batch, how) -> {"run": starts -> None, "windows": starts -> windows}

``run`` is what is timed. ``tokens`` are those that the file ``out`` holds, as texts or, of bytes,
as numbers. ``starts`` is ``int64[N·B]``, where in the tokens the windows of N batches begin; a
batch is ``int32[T, B]``, an array of its own, and ``windows`` gives ``int32[N, T, B]``. Nothing
here imports JAX but rnn_jax itself.
"""
