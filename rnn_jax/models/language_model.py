"""A recurrent language model: tokens in, logits of the next token out."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp

from rnn_jax.arrays.masking import check_mask
from rnn_jax.arrays.paths import at_path
from rnn_jax.arrays.tokens import check_ids, is_ids
from rnn_jax.cells.initializers import uniform_fan_in
from rnn_jax.host.checks import check_members, member, positive
from rnn_jax.layers import Embedding
from rnn_jax.layers.base import Apart, BaseLayer, adapted, check_layer, run
from rnn_jax.models.read_out import Features, read_out
from rnn_jax.models.softmax import Softmax
from rnn_jax.types import Along, Array, Carry, Layer, Params

__all__ = ["LanguageModel", "language_model"]


@dataclass(frozen=True)
class LanguageModel(BaseLayer):
    """Hyperparameters of `language_model`, with the pure functions of a `Model`."""

    vocab_size: int
    layer: Layer
    embedding_size: int | None = None
    bias: bool = True
    tied: bool = False
    readout: Softmax | None = None

    def __post_init__(self) -> None:
        positive(vocab_size=self.vocab_size)
        if self.readout is not None:
            if not isinstance(self.readout, Softmax):
                raise ValueError(
                    f"readout must be an adaptive_softmax or sampled_softmax, not {self.readout!r}"
                )
            if self.tied:
                raise ValueError("a tied read-out is the embedding: leave out tied or readout")
            self.readout.check(self.vocab_size)
        size = None if self.embedding is None else self.embedding.size
        if self.tied and (size is None or self.layer.output_size not in (None, size)):
            raise ValueError(
                f"tied weights need an embedding_size that is the layer's output size, "
                f"{self.layer.output_size}, not {size}"
            )

    @property
    def embedding(self) -> Embedding | None:
        """The layer below the recurrent part, or None for one-hot inputs."""
        return None if self.embedding_size is None else Embedding(self.embedding_size)

    @property
    def output_size(self) -> int:
        """``V``."""
        return self.vocab_size

    @property
    def causal(self) -> bool:
        """Whether the recurrent part is."""
        return self.layer.causal

    @property
    def input_table(self) -> tuple[str, ...] | None:
        """Where in the parameters the rows stand that a token selects and nothing else reads."""
        if self.embedding is not None:
            return None if self.tied else self.embedding.input_table
        table = adapted(self.layer).input_table
        return None if table is None else ("layer", *table)

    @property
    def recurrent_part(self) -> Layer:
        """The layer between embedding and read-out."""
        return self.layer

    def over(self, layer: Layer) -> LanguageModel:
        """The same model over another recurrent part; all else acts on each step alone."""
        return dataclasses.replace(self, layer=layer)

    def init(self, key: Array) -> Params:
        """``{"embedding"?, "layer", "readout": {"w"?, "b"?}}``; see `language_model`."""
        embedding_key, layer_key, readout_key = jax.random.split(key, 3)
        embedding = self.embedding
        params: Params = {} if embedding is None else embedding.init(embedding_key, self.vocab_size)
        input_size = self.embedding_size or self.vocab_size
        params["layer"] = self.layer.init(layer_key, input_size)
        features = self.layer.output_size or input_size
        if self.readout is not None:
            own = self.readout.init(readout_key, features, self.vocab_size, bias=self.bias)
            return {**params, "readout": own}
        readout = (
            {} if self.tied else {"w": uniform_fan_in(readout_key, (features, self.vocab_size))}
        )
        if self.bias:
            readout["b"] = jnp.zeros(self.vocab_size)
        # No empty entry: files of parameters hold arrays only.
        return {**params, "readout": readout} if readout else params

    def initial_carry(self, batch_shape: tuple[int, ...], params: Params = None) -> Carry:
        """The recurrent part's initial carry."""
        part = None if params is None else member(self, params, "layer")
        return self.layer.initial_carry(batch_shape, part)

    def run(
        self, params: Params, carry: Carry, xs: Array, along: Along, *, every: bool
    ) -> tuple[Carry, Array]:
        """Tokens ``int[T, B]`` to the new carry and logits ``float[T, B, V]``.

        Logits at masked steps are those of a zero feature vector; losses mask them.
        """
        carry, ys = self.run_features(params, carry, xs, along, every=every)
        if self.readout is not None:
            return carry, self.readout.logits(params["readout"], ys)
        w, b, axis = self.matrix(params)
        return carry, read_out({"w": w if axis else w.T, "b": b}, ys)

    @property
    def apart(self) -> Apart:
        """Everything below the read-out, and its matrix; that of an embedding lies as it is."""
        softmax = self.readout
        if softmax is None:
            return Apart(Features(self), self.matrix, None if self.tied else ("readout",))
        return Apart(
            Features(self),
            None,
            None,
            lambda params, *args, **options: softmax.loss(params["readout"], *args, **options),
            partial(softmax.draw, vocab_size=self.vocab_size),
            tuple(("readout", name) for name in softmax.tables),
        )

    def matrix(self, params: Params) -> tuple[Array, Array | None, int]:
        """The read-out's ``w``, ``b`` and the axis of the vocabulary; see `Apart`."""
        readout = params.get("readout", {})
        w, axis = (params["embedding"], 0) if self.tied else (readout["w"], 1)
        return w, readout.get("b"), axis

    def run_features(
        self, params: Params, carry: Carry, xs: Array, along: Along, *, every: bool
    ) -> tuple[Carry, Array]:
        """The new carry, and what the read-out reads, ``float[T, B, H]``."""
        if not is_ids(xs):
            raise ValueError(f"a language model reads token ids, integers, not {xs.dtype}")
        parts = {"layer": True, "embedding": self.embedding is not None, "readout": not self.tied}
        check_members(self, params, *(name for name, needed in parts.items() if needed))
        check_mask(along.mask, xs.shape)
        if self.embedding is not None:
            _, xs = self.embedding.run(params, (), xs, along, every=False)
        else:
            table = self.input_table
            size = self.vocab_size if table is None else at_path(params, table).shape[0]
            check_ids(xs, size, along.mask)
        return run(self.layer, params["layer"], carry, xs, along, every=every)


def language_model(
    vocab_size: int,
    layer: Layer,
    *,
    embedding_size: int | None = None,
    bias: bool = True,
    tied: bool = False,
    readout: Softmax | None = None,
) -> LanguageModel:
    """A language model: embedding, recurrent part, linear read-out.

    ``e_t = E[x_t]``, ``h = layer(e)``, ``logits_t = h_t W + b``. Without an embedding the layer
    reads the tokens themselves: integers are one-hot vectors and select a row of its input matrix.

    Parameters: ``{"embedding": [V, E], "layer": …, "readout": {"w": [H, V], "b": [V]}}``; the
    embedding is drawn from N(0, 1), ``w`` uniform in ±1/√H, ``b`` zero. With ``tied`` there is no
    ``w``: ``logits_t = h_t Eᵀ + b``.

    Args:
      vocab_size: ``V``.
      layer: the recurrent part, a `Layer`; its carry is the model's.
      embedding_size: ``E``, or None for one-hot inputs.
      bias: whether the read-out has a bias.
      tied: whether the read-out's matrix is the embedding's, transposed; the layer's outputs must
        have its size.
      readout: an `adaptive_softmax` or a `sampled_softmax` in the place of one matrix for all
        words, for large vocabularies.

    Returns:
      A `Model`: ``init(key)``, ``apply(params, carry, int[T, B]) -> (carry, float[T, B, V])``.

    Raises:
      ValueError: sizes that are not positive, something that is not a layer, or tied weights that
        do not fit. ``apply`` raises it for a token outside the vocabulary, which is NaN under jit.

    Example:
      >>> import jax, jax.numpy as jnp, rnn_jax
      >>> model = language_model(50, rnn_jax.recurrent(rnn_jax.elman(8)))
      >>> params = model.init(jax.random.key(0))
      >>> carry, logits = model.apply(params, None, jnp.array([[3, 1], [4, 1], [5, 9]]))
      >>> carry.shape, logits.shape
      ((2, 8), (3, 2, 50))

    Reference:
      Mikolov et al., Recurrent neural network based language model, Interspeech 2010; tied: Press
      and Wolf, Using the output embedding to improve language models, EACL 2017.
    """
    check_layer("language_model", layer)
    return LanguageModel(vocab_size, layer, embedding_size, bias, tied, readout)
