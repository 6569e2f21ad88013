"""An encoder-decoder: one sequence is read, another one is written."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from rnn_jax.arrays.products import affine
from rnn_jax.cells.initializers import uniform_fan_in
from rnn_jax.host.checks import check_members, positive
from rnn_jax.layers.base import Apart, BaseLayer
from rnn_jax.models.language_model import LanguageModel
from rnn_jax.models.read_out import Features
from rnn_jax.recurrence.unroll import batch_shape_of
from rnn_jax.types import Along, Array, Carry, Layer, Params, Share

__all__ = ["EncoderDecoder", "encoder_decoder"]

_UNREAD = (
    "an encoder-decoder starts from what it has read: pass carry=model.encode(params, source, "
    "mask), or in training batches with a source"
)


@dataclass(frozen=True)
class EncoderDecoder(BaseLayer):
    """Hyperparameters of `encoder_decoder`, with the pure functions of a `Model`."""

    source_size: int
    encoder: Layer
    decoder: LanguageModel
    bridge: bool = False

    def __post_init__(self) -> None:
        positive(source_size=self.source_size)

    @property
    def output_size(self) -> int:
        """``V``, of the decoder."""
        return self.decoder.output_size

    @property
    def causal(self) -> bool:
        """Whether the decoder is; the encoder need not be."""
        return self.decoder.causal

    @property
    def recurrent_part(self) -> Layer:
        """The decoder's."""
        return self.decoder.layer

    def over(self, layer: Layer) -> EncoderDecoder:
        """The same model over another recurrent part of the decoder."""
        return dataclasses.replace(self, decoder=self.decoder.over(layer))

    def init(self, key: Array) -> Params:
        """``{"encoder", "decoder", "bridge"?: {"w", "b"}}``; see `encoder_decoder`."""
        encoder_key, decoder_key, bridge_key = jax.random.split(key, 3)
        params = {
            "encoder": self.encoder.init(encoder_key, self.source_size),
            "decoder": self.decoder.init(decoder_key),
        }
        read, wanted = self._features(params)
        if self.bridge:
            params["bridge"] = {
                "w": uniform_fan_in(bridge_key, (sum(read), sum(wanted))),
                "b": jnp.zeros(sum(wanted)),
            }
        elif read != wanted:
            raise ValueError(
                f"the encoder's carry has features {read}, the decoder's {wanted}: give both the "
                "same cells, or pass bridge=True"
            )
        return params

    def initial_carry(self, batch_shape: tuple[int, ...], params: Params = None) -> Carry:
        """None but that of ``encode``: raises ValueError."""
        raise ValueError(_UNREAD)

    def encode(
        self,
        params: Params,
        source: Array,
        mask: Array | None = None,
        *,
        key: Array | None = None,
        rows: Array | int | Share | None = None,
    ) -> Carry:
        """The decoder's carry after the encoder has read ``float[S, B, D]`` or ``int[S, B]``."""
        check_members(self, params, "encoder", "decoder", *(["bridge"] if self.bridge else []))
        more: dict[str, Any] = {} if rows is None else {"rows": rows}
        carry, _ = self.encoder.apply(params["encoder"], None, source, mask=mask, key=key, **more)
        wanted, tree = jax.tree.flatten(self._wanted(batch_shape_of(source), params))
        leaves = jax.tree.leaves(carry)
        if self.bridge:
            bridge = params["bridge"]
            states = jnp.tanh(affine(jnp.concatenate(leaves, -1), bridge["w"], bridge["b"]))
            ends = list(itertools.accumulate(leaf.shape[-1] for leaf in wanted))
            leaves = jnp.split(states, ends[:-1], axis=-1)
        return jax.tree.unflatten(tree, leaves)

    def run(
        self, params: Params, carry: Carry, xs: Array, along: Along, *, every: bool
    ) -> tuple[Carry, Array]:
        """The decoder over tokens ``int[T, B]`` (teacher forcing) from the carry of ``encode``."""
        self._check_run(params, carry, along)
        return self.decoder.run(params["decoder"], carry, xs, along, every=every)

    @property
    def apart(self) -> Apart:
        """Everything but the decoder's read-out, and its matrix."""
        place = "decoder"
        return self.decoder.apart.within(Features(self), lambda params: params[place], (place,))

    def run_features(
        self, params: Params, carry: Carry, xs: Array, along: Along, *, every: bool
    ) -> tuple[Carry, Array]:
        """As `run`, with what the decoder's read-out reads, ``float[T, B, H]``."""
        self._check_run(params, carry, along)
        return self.decoder.run_features(params["decoder"], carry, xs, along, every=every)

    def _check_run(self, params: Params, carry: Carry, along: Along) -> None:
        if carry is None:
            raise ValueError(_UNREAD)
        check_members(self, params, "decoder")
        if along.resets is not None:
            raise ValueError(
                "an encoder-decoder starts from what it has read and has nothing to reset to: give "
                "each sequence a row of its own"
            )

    def _wanted(self, batch_shape: tuple[int, ...], params: Params) -> Any:
        """Shapes of the decoder's carry."""
        return jax.eval_shape(lambda: self.decoder.initial_carry(batch_shape, params["decoder"]))

    def _features(self, params: Params) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Features of each array in the encoder's carry, and in the decoder's."""
        read = jax.eval_shape(lambda: self.encoder.initial_carry((), params["encoder"]))
        read, wanted = jax.tree.leaves(read), jax.tree.leaves(self._wanted((), params))
        if self.bridge and any(jnp.iscomplexobj(leaf) for leaf in (*read, *wanted)):
            raise ValueError("bridge=True takes carries of real numbers: use other cells")
        sizes = [tuple(leaf.shape[-1] for leaf in leaves) for leaves in (read, wanted)]
        return sizes[0], sizes[1]


def encoder_decoder(
    source_size: int, encoder: Layer, decoder: LanguageModel, *, bridge: bool = False
) -> EncoderDecoder:
    """A model that reads a source and writes a target: its encoder's last carry starts the decoder.

    ``c = encoder(source)``, ``logits_t = decoder(c, y_1 … y_t)``. The arrays of the encoder's carry
    become those of the decoder's one by one, in the order of `jax.tree.leaves`; with ``bridge``,
    for which sizes need not agree, ``c' = tanh(c W + b)`` of all of them side by side, cut into
    the decoder's.

    Parameters: ``{"encoder": …, "decoder": …, "bridge": {"w", "b"}}``, those of the parts; the
    bridge's ``w`` is uniform in ±1/√fan-in and ``b`` zero.

    Training by teacher forcing, and writing:

        carry = model.encode(params, source, source_mask)
        _, logits = model.apply(params, carry, targets[:-1], mask=mask)   # loss: targets[1:]
        _, tokens = generate(model, params, carry, first, length=…, key=…, stop=…)

    Args:
      source_size: ``D`` of a source ``float[S, B, D]``, or the number of ids of ``int[S, B]``.
      encoder: a `Layer`, such as ``serial(embedding(16), recurrent(gru(64)))``; one that is not
        causal reads in both directions.
      decoder: a `language_model` over the target's tokens, causal.
      bridge: whether a learned map stands between the two carries.

    Returns:
      A `Model` with ``encode(params, source, mask=None, *, key=None) -> carry`` besides;
      `generate`, `stream` and `beam_search` take it, with that carry. `truncate`, `remat` and
      `gradient_flow` mean the decoder's recurrent part; the encoder stays as it is.

    Raises:
      ValueError: parts of the wrong kind, a decoder that is not causal, carries that do not fit,
        or a missing carry in ``apply``.

    Example:
      >>> import jax, jax.numpy as jnp, rnn_jax
      >>> model = encoder_decoder(
      ...     30,
      ...     rnn_jax.serial(rnn_jax.embedding(4), rnn_jax.recurrent(rnn_jax.gru(8))),
      ...     rnn_jax.language_model(20, rnn_jax.recurrent(rnn_jax.gru(8)), embedding_size=4),
      ... )
      >>> params = model.init(jax.random.key(0))
      >>> source, first = jnp.array([[3, 1], [4, 1], [5, 9]]), jnp.zeros((1, 2), int)
      >>> carry = model.encode(params, source)
      >>> tokens, scores = rnn_jax.beam_search(model, params, carry, first, beams=3, length=5)
      >>> tokens.shape
      (5, 2, 3)

    Reference:
      Sutskever, Vinyals and Le, Sequence to sequence learning with neural networks, NeurIPS 2014;
      the bridge: Cho et al., Learning phrase representations using RNN encoder-decoder for
      statistical machine translation, EMNLP 2014.
    """
    if not isinstance(encoder, Layer):
        raise ValueError(f"encoder_decoder() takes a layer as encoder, not {encoder!r}")
    if not isinstance(decoder, LanguageModel):
        raise ValueError(f"encoder_decoder() takes a language_model as decoder, not {decoder!r}")
    if not decoder.causal:
        raise ValueError(f"{decoder!r} is not causal: only a model that runs forwards can write")
    model = EncoderDecoder(source_size, encoder, decoder, bridge)
    jax.eval_shape(lambda: model.init(jax.random.key(0)))  # whether the carries fit
    return model
