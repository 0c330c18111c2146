"""The last layer works where states are read: they stay what they were, and so do the gradients."""

import pytest
import torch
from torch import nn
from transformers import (
    GPT2Config,
    GPT2Model,
    GraniteConfig,
    GraniteModel,
    LlamaConfig,
    LlamaModel,
    MistralConfig,
    MistralModel,
    Qwen2Config,
    Qwen2Model,
    Qwen3Config,
    Qwen3Model,
)

from pipeline.last_layer import last_layer_at
from pipeline.packing import APART, last_positions, predicting_positions, rows_of, sharing, states_at
from pipeline.prefix_attention import lay_out
from pipeline.recompute import recompute_layers

pytestmark = pytest.mark.usefixtures("exact")

CPU = torch.device("cpu")
SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 64}
SEQUENCES = [
    ([1, 2, 3, 4], [5, 6, 7]),
    ([1, 2, 3, 4], [8] * 30),
    ([9, 10], [11, 12]),
    ([9, 10], [13]),
    ([3], [4, 5, 6]),
]


def llama() -> LlamaModel:
    torch.manual_seed(0)
    return LlamaModel(LlamaConfig(**SIZES)).eval()


def read_states(model: nn.Module, read=predicting_positions, share: bool = True) -> torch.Tensor:
    rows = rows_of(SEQUENCES, sharing(model), 32) if share else rows_of(SEQUENCES, APART, 32)
    return states_at(model, rows, CPU, read, sharing(model))


def whole_layers(monkeypatch) -> None:
    monkeypatch.setattr("pipeline.last_layer._layer_of", lambda body: None)
    monkeypatch.setattr("pipeline.last_feed_forward._tail_of", lambda body: None)


@pytest.mark.parametrize("read", [predicting_positions, last_positions])
@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("multiple", [1, 16])
def test_states_that_are_read_and_their_gradients_stay_the_same(monkeypatch, multiple, share, read):
    monkeypatch.setattr("pipeline.last_layer.width_multiple", lambda device: multiple)
    model, found = llama(), []
    for whole in (False, True):
        if whole:
            whole_layers(monkeypatch)
        model.zero_grad()
        states = read_states(model, read, share)
        (states * torch.arange(32.0)).sum().backward()
        found.append((states.detach(), torch.cat([p.grad.flatten() for p in model.parameters()])))
    torch.testing.assert_close(found[0][0], found[1][0], atol=1e-5, rtol=0)
    torch.testing.assert_close(found[0][1], found[1][1], atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize(
    "model, fits",
    [
        (MistralModel(MistralConfig(**SIZES, num_key_value_heads=2)), True),
        (Qwen2Model(Qwen2Config(**SIZES, num_key_value_heads=2)), True),
        (Qwen3Model(Qwen3Config(**SIZES, num_key_value_heads=2, head_dim=8)), False),
        (GraniteModel(GraniteConfig(**SIZES, num_key_value_heads=2, residual_multiplier=0.3)), False),
        (GPT2Model(GPT2Config(vocab_size=64, n_positions=64, n_embd=32, n_layer=2, n_head=4)), False),
    ],
)
def test_other_architectures_give_the_same_states(monkeypatch, model, fits):
    layout = lay_out([([1, 2, 3], [])], CPU)
    with last_layer_at(model.eval(), layout.clusters, [2]) as found_at:
        assert isinstance(found_at, range) == fits
    with torch.no_grad():
        found = read_states(model)
        whole_layers(monkeypatch)
        torch.testing.assert_close(found, read_states(model), atol=1e-5, rtol=1e-4)


def test_only_who_is_read_asks_and_goes_through_the_block():
    model, sizes = llama(), []
    for product in (model.layers[-1].self_attn.q_proj, model.layers[-1].mlp.up_proj):
        product.register_forward_hook(lambda _m, _in, out: sizes.append(out.shape[:-1].numel()))
    read_states(model)  # and the trials
    sizes.clear()
    read_states(model, last_positions)
    longest = 1 + 30 + 2 + 2  # blocks of 3 and 30 tokens, 2 and 1, one prompt on its own: their last tokens and between
    assert sizes[0] <= longest < sum(len(c) for _, c in SEQUENCES) and sizes[1] == len(SEQUENCES)


def test_layers_that_the_backward_makes_anew_give_the_same_states():
    model, found = llama(), []
    for again in (False, True):
        if again:
            recompute_layers(model)
        model.zero_grad()
        read_states(model).square().sum().backward()
        found.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    torch.testing.assert_close(*found, atol=1e-4, rtol=1e-4)
