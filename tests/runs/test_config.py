"""Settings of runs: every cell with every option, what is refused, and how one becomes another."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnn_jax
from rnn_jax import runs
from rnn_jax.interop import load_params, save_params
from rnn_jax.runs.cells import CELLS, WITH
from rnn_jax.runs.settings import BEFORE, ModelSettings, TrainConfig

V, H = 7, 4
SMALL: dict[str, Any] = {"hidden_size": H, "embedding_size": H, "num_layers": 2}

# An option of the model, at a value that does something.
OPTIONS: dict[str, dict[str, Any]] = {
    "bias": {"bias": False},
    "proj_size": {"proj_size": 3},
    "layer_norm": {"layer_norm": True},
    "learned_carry": {"learned_carry": True},
    "zoneout": {"zoneout": 0.5},
    "zoneout_cell": {"zoneout_cell": 0.5},
    "weight_drop": {"weight_drop": 0.5},
    "residual": {"residual": True},
    "tied": {"tied": True},
    "softmax": {"softmax": "adaptive:2,4"},
    "dropout": {"dropout": 0.5},
    "variational_dropout": {"dropout": 0.5, "variational_dropout": True},
    "embedding_size": {"embedding_size": 0},
    "num_layers": {"num_layers": 3},
}


def fits(cell: str, option: str) -> bool:
    return option == "bias" or cell in WITH.get(option, CELLS)


def logits(config: ModelSettings) -> tuple[Any, jax.Array]:
    model = runs.make_model(config, V)
    params = model.init(jax.random.key(0))
    tokens = jnp.arange(10).reshape(5, 2) % V
    return params, model.apply(params, None, tokens, key=jax.random.key(1))[1]


@pytest.mark.parametrize("cell", CELLS)
def test_every_option_acts_on_every_cell_or_is_refused(cell: str) -> None:
    plain, ys = logits(ModelSettings(cell=cell, **SMALL))
    for name, options in OPTIONS.items():
        if not fits(cell, name):
            with pytest.raises(ValueError, match=rf"^--{name.replace('_', '-')} is not for --cell"):
                ModelSettings(cell=cell, **SMALL | options)
            continue
        params, changed = logits(ModelSettings(cell=cell, **SMALL | options))
        assert changed.shape == ys.shape and bool(jnp.isfinite(changed).all())
        same = bool(jax.tree.structure(params) == jax.tree.structure(plain))  # type: ignore[operator]
        assert not same or not np.array_equal(changed, ys), name


# What changes the sizes, or does not go with another option.
APART = ("bias", "proj_size", "num_layers", "softmax")


def everything(cell: str) -> dict[str, Any]:
    """All options that a cell takes together."""
    names = [n for n in OPTIONS if fits(cell, n) and n not in APART]
    chosen = {k: v for name in names for k, v in OPTIONS[name].items()}
    return SMALL | chosen | {"embedding_size": H, "num_layers": 1, "batching": "random"}


@pytest.mark.parametrize(
    "cell, options",
    [(cell, everything(cell)) for cell in CELLS]
    + [("lstm", {"proj_size": 3, "weight_drop": 0.5, "residual": True, "remat": True})]
    + [("gru", {"activation_penalty": 2.0, "temporal_penalty": 1.0, "dropout": 0.1})]
    + [("tanh", {"label_smoothing": 0.1})]
    + [("gru", {"softmax": kind, "optimizer": "sgd"}) for kind in ("adaptive:2,4", "sampled:5")]
    + [("gru", {"softmax": "adaptive:3", "dtype": "bfloat16", "bptt": "tail:3"})],
)
def test_every_cell_trains_a_step_and_comes_back_from_a_file(
    cell: str, options: dict[str, Any], tmp_path: Path
) -> None:
    config = TrainConfig(cell=cell, batch_size=2, seq_length=5, **SMALL | options)
    model = runs.truncated(config, runs.make_model(config, V))
    optimizer = runs.make_optimizer(config, 1)
    params = model.init(jax.random.key(0))
    state = rnn_jax.init_train_state(model, optimizer, params)
    step = jax.jit(rnn_jax.make_train_step(model, optimizer, loss=runs.training_loss(config)))
    tokens = jax.random.randint(jax.random.key(2), (6, 2), 0, V)
    batch = rnn_jax.Batch(tokens[:-1], tokens[1:])
    for number in range(2):
        state, metrics = step(state, batch, key=jax.random.key(number))
    assert np.isfinite(metrics["loss"])
    trained = jax.tree.leaves(state.params)
    for (keys, leaf), after in zip(jax.tree.leaves_with_path(params), trained, strict=True):
        name = jax.tree_util.keystr(keys, simple=True, separator=".")
        fixed = cell == "echo-state" and name.startswith("layer.")
        assert fixed == np.array_equal(leaf, after), name
    save_params(tmp_path / "p.safetensors", state.params)
    back = load_params(tmp_path / "p.safetensors", like=params)
    for a, b in zip(jax.tree.leaves(back), jax.tree.leaves(state.params), strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_a_cell_takes_is_what_the_library_gives_it() -> None:
    """The table of refusals against the factories themselves."""
    makers: dict[str, Any] = {
        "bias": lambda make: make(H, bias=False),
        "layer_norm": lambda make: make(H, layer_norm=True),
        "proj_size": lambda make: make(H, proj_size=3),
        "learned_carry": lambda make: make(H, learned_carry=True),
        "zoneout": lambda make: rnn_jax.zoneout(make(H), 0.1),
        "zoneout_cell": lambda make: rnn_jax.zoneout(make(H), 0.1, cell_rate=0.1),
        "weight_drop": lambda make: rnn_jax.weight_drop(rnn_jax.recurrent(make(H)), 0.1).init(
            jax.random.key(0), 3
        ),
    }
    assert set(makers) == set(WITH)
    for option, make in makers.items():
        for name, cell in CELLS.items():
            try:
                make(cell)
                taken = True
            except (TypeError, ValueError):
                taken = False
            if (name, option) == ("echo-state", "weight_drop"):
                continue  # possible, and noise on what is fixed
            assert taken == (name in WITH[option]), (name, option)


def test_default_models_are_what_they_were() -> None:
    model = runs.make_model(TrainConfig(num_layers=2, dropout=0.1), 50)
    drop, gru = rnn_jax.dropout(0.1), rnn_jax.gru(256, bias=True)
    layers = (drop, rnn_jax.recurrent(gru), drop, rnn_jax.recurrent(gru), drop)
    assert model == rnn_jax.language_model(50, rnn_jax.serial(*layers), embedding_size=128)
    one_hot = runs.make_model(TrainConfig(embedding_size=0, dropout=0.1, cell="lstm"), 50)
    lstm = rnn_jax.recurrent(rnn_jax.lstm(256, forget_bias=1.0))
    assert one_hot == rnn_jax.language_model(50, rnn_jax.serial(lstm, drop))


def test_softmaxes_are_those_of_the_library() -> None:
    def readout(softmax: str, vocab_size: int) -> Any:
        model: Any = runs.make_model(ModelSettings(softmax=softmax), vocab_size)
        return model.readout

    assert readout("full", 50) is None
    assert readout("adaptive", 40_000) == rnn_jax.adaptive_softmax([2000, 10_000])
    assert readout("adaptive", 1000) == rnn_jax.adaptive_softmax([50, 250])
    assert readout(" adaptive:7, 20", 50) == rnn_jax.adaptive_softmax([7, 20])
    assert readout("sampled:50", 50) == rnn_jax.sampled_softmax(50)
    for softmax, sentence in {
        "adaptive": "is for vocabularies of 1000 words and more, and this one has 50: leave it out",
        "adaptive:7,50": "does not fit a vocabulary of 50: the last cutoff must be below 50",
        "sampled:51": "draws more words than the 50 of the vocabulary: draw fewer",
    }.items():
        with pytest.raises(ValueError, match=f"^--softmax {softmax} {sentence}"):
            readout(softmax, 50)


def test_residual_layers_begin_where_sizes_agree() -> None:
    config = TrainConfig(residual=True, num_layers=3, hidden_size=6, embedding_size=4)
    first, *others = runs.make_model(config, V).layer.layers  # type: ignore[attr-defined]
    assert isinstance(first, rnn_jax.layers.Recurrent)
    assert all(isinstance(layer, rnn_jax.layers.Residual) for layer in others)
    config = dataclasses.replace(config, embedding_size=6, dropout=0.2)
    *all_three, last = runs.make_model(config, V).layer.layers  # type: ignore[attr-defined]
    assert all(isinstance(layer, rnn_jax.layers.Residual) for layer in all_three)
    assert isinstance(last, rnn_jax.layers.Dropout)


def test_penalties_stand_around_the_last_dropout() -> None:
    chosen: Any = {"activation_penalty": 2.0, "temporal_penalty": 1.0}
    plain = rnn_jax.recurrent(rnn_jax.gru(256))
    tar, drop, ar = (
        rnn_jax.activation_penalty(tar=1.0),
        rnn_jax.dropout(0.4),
        rnn_jax.activation_penalty(ar=2.0),
    )
    one_hot: Any = {"embedding_size": 0, **chosen}
    model = runs.make_model(TrainConfig(dropout=0.4, **one_hot), V)
    assert model == rnn_jax.language_model(V, rnn_jax.serial(plain, tar, drop, ar))
    model = runs.make_model(TrainConfig(remat=True, **one_hot), V)
    both = rnn_jax.activation_penalty(2.0, 1.0)
    assert model == rnn_jax.language_model(V, rnn_jax.serial(rnn_jax.remat(plain), both))


@pytest.mark.parametrize(
    "options, sentence",
    [
        (
            {"layer_norm": True, "cell": "lru"},
            "--layer-norm is not for --cell lru: leave it out, o",
        ),
        ({"layer_norm": True, "cell": "gru-before"}, "--layer-norm is not for --cell gru-before"),
        ({"proj_size": 8}, "--proj-size is not for --cell gru: leave it out, or use --cell lstm"),
        ({"proj_size": 8, "layer_norm": True, "cell": "lstm"}, "--layer-norm and --proj-size do n"),
        ({"weight_drop": 0.5, "cell": "lru"}, "--weight-drop is not for --cell lru"),
        ({"zoneout": 0.5, "cell": "lru"}, "--zoneout is not for --cell lru"),
        (
            {"zoneout_cell": 0.5},
            "--zoneout-cell is not for --cell gru: leave it out, or use --cell",
        ),
        ({"zoneout": 1.0}, "--zoneout must be at least 0 and below 1, not 1.0"),
        (
            {"tied": True},
            "--tied takes .* --embedding-size 128 is not --hidden-size 256: set --emb",
        ),
        ({"tied": True, "embedding_size": 0}, "--embedding-size 0 is not --hidden-size 256"),
        (
            {"tied": True, "cell": "lstm", "proj_size": 64},
            "--embedding-size 128 is not --proj-size 64: set --embedding-size 64",
        ),
        ({"residual": True}, "--residual adds .* set --embedding-size 256, or take more layers"),
        ({"variational_dropout": True}, "--variational-dropout says how --dropout drops"),
        ({"learned_carry": True}, "--learned-carry learns .* use --batching random or sentences"),
        ({"cell": "echo-state", "optimizer": "adamw"}, "--weight-decay would wear the fixed weigh"),
        ({"epochs": 2, "steps": 9}, "--epochs and --steps say the same thing in two ways"),
        (
            {"evaluate_every": 1, "evaluate_every_steps": 9},
            "--evaluate-every and --evaluate-every-",
        ),
        ({"steps": -1}, "--steps must be at least 0"),
        ({"early_stop": 0}, "--early-stop must be at least 1"),
        ({"keep": 0}, "--keep must be at least 1"),
        ({"save_every": 0.0}, "--save-every must be finite and above 0"),
        ({"warmup": 1.0}, "--warmup is not for --schedule halve: leave it out, or use one of cons"),
        ({"decay_every": 2.0}, "--decay-every is not for --schedule halve"),
        (
            {"plateau_patience": 3},
            "--plateau-patience is not for --schedule halve: leave it out, o",
        ),
        ({"decay_factor": 1.0}, "--decay-factor must be between 0 and 1"),
        (
            {"momentum": 0.9},
            "--momentum is not for --optimizer adam: leave it out, or use one of s",
        ),
        ({"weight_decay": 0.1}, "--weight-decay is not for --optimizer adam: .* --optimizer adamw"),
        ({"average": "ema"}, "--average 'ema' is none: write none, ema:0.999"),
        ({"average": "ema:1"}, "--average 'ema:1' is none"),
        ({"average": "asgd:0.5"}, "--average 'asgd:0.5' is none"),
        ({"min_lr": 1.0, "schedule": "step"}, "--min-lr 1 is above the learning rate, 0.002"),
        ({"min_lr": 0.001}, "--min-lr is not for --schedule halve"),
        ({"accumulate": 0}, "--accumulate must be at least 1"),
        ({"label_smoothing": 1.0}, "--label-smoothing must be at least 0 and below 1"),
        ({"temporal_penalty": 1.0, "batching": "sentences"}, "--temporal-penalty is weighed agai"),
        ({"activation_penalty": 1.0, "bptt": "sliding:2"}, "--activation-penalty is of all steps"),
        ({"activation_penalty": -1.0}, "--activation-penalty must be finite and at least 0"),
        (
            {"tied": True, "embedding_size": 256, "softmax": "adaptive"},
            "--tied reads out by the em",
        ),
        (
            {"label_smoothing": 0.1, "softmax": "sampled:9"},
            "--label-smoothing gives every word a share, and --softmax sampled:9 does not",
        ),
        *(
            (
                {"softmax": softmax},
                f"--softmax '{softmax}' is not known: write full, adaptive, adaptive",
            )
            for softmax in ("", "full:3", "adaptive:", "adaptive:9,3", "adaptive:0,3", "sampled")
        ),
        *(
            (
                {"softmax": softmax},
                f"--softmax '{softmax}' is not known: .* or sampled:1024 with the n",
            )
            for softmax in ("adaptive:2.5", "sampled:1,2", "sampled:-1", f"sampled:{10**60}")
        ),
        ({"dtype": "float16"}, "--dtype must be one of float32, bfloat16"),
    ],
)
def test_what_does_not_fit_is_one_sentence(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=f"(?s)^.*{sentence}") as caught:
        TrainConfig(**options)
    assert "\n" not in str(caught.value)


def test_of_two_alternatives_the_later_one_holds() -> None:
    config = TrainConfig()
    assert (config.epochs, config.steps, config.evaluate_every) == (4, None, 1)
    config = config.changed(steps=100, evaluate_every_steps=10)
    assert (config.epochs, config.steps) == (None, 100)
    assert (config.evaluate_every, config.evaluate_every_steps) == (None, 10)
    assert config.changed(epochs=2).steps is None and config.changed(seed=3).steps == 100
    with pytest.raises(ValueError, match="--epochs and --steps"):
        config.changed(epochs=2, steps=3)


def test_older_configurations_mean_what_they_did() -> None:
    """What the first version saved is a whole configuration, trained as ever."""
    first = {
        "corpus", "column", "max_sentences", "max_tokens", "level", "letters_only", "vocab_size",
        "held_out", "cell", "hidden_size", "num_layers", "embedding_size", "bias", "dropout",
        "bptt", "batching", "batch_size", "seq_length", "optimizer", "lr", "clip", "epochs",
        "evaluate_every", "seed",
    }  # fmt: skip
    assert first | set(BEFORE) == {field.name for field in dataclasses.fields(TrainConfig)}
    saved = {name: getattr(TrainConfig(), name) for name in first}
    old = TrainConfig(**TrainConfig.completed(saved))
    assert old == TrainConfig()
    glued = TrainConfig.completed({**saved, "letters_only": True, "level": "char"})
    assert glued["glue_lines"] is True
    assert json.loads(json.dumps(dataclasses.asdict(old))) == dataclasses.asdict(old)
