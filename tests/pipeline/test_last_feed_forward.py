"""The last feed-forward block works where states are read: they stay what they were, and so do the gradients."""

import pytest
import torch
from torch import nn
from transformers import GemmaConfig, GemmaModel, GPT2Config, GPT2Model, LlamaConfig, LlamaModel

from pipeline.last_feed_forward import feed_forward_of, feeding_forward_at
from pipeline.recompute import recompute_layers

pytestmark = pytest.mark.usefixtures("exact")

IDS = torch.randint(1, 64, (3, 9), generator=torch.Generator().manual_seed(2))
READ = [3, 4, 5, 5, 17, 26]  # among 3 x 9 places, one of them twice
SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 64}


def llama() -> LlamaModel:
    torch.manual_seed(0)
    return LlamaModel(LlamaConfig(**SIZES)).eval()


def read_states(model: nn.Module, wanted: list[int] | None) -> torch.Tensor:
    if wanted is None:
        return model(input_ids=IDS, use_cache=False).last_hidden_state.flatten(0, 1)[READ]
    with feeding_forward_at(model, wanted) as found_at:
        return model(input_ids=IDS, use_cache=False).last_hidden_state.flatten(0, 1)[found_at]


@pytest.mark.parametrize("multiple", [1, 8])
def test_states_that_are_read_and_their_gradients_stay_the_same(monkeypatch, multiple):
    monkeypatch.setattr("pipeline.last_feed_forward.width_multiple", lambda device: multiple)
    model, found = llama(), []
    for wanted in (None, READ):
        model.zero_grad()
        states = read_states(model, wanted)
        (states * torch.arange(32.0)).sum().backward()
        found.append((states.detach(), torch.cat([p.grad.flatten() for p in model.parameters()])))
    torch.testing.assert_close(found[0][0], found[1][0], atol=1e-5, rtol=0)
    torch.testing.assert_close(found[0][1], found[1][1], atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize(
    "model",
    [
        GPT2Model(GPT2Config(vocab_size=64, n_positions=64, n_embd=32, n_layer=2, n_head=4)),
        GemmaModel(GemmaConfig(**SIZES, num_key_value_heads=4, head_dim=8)),
    ],
)
def test_other_architectures_give_the_same_states(model):
    with torch.no_grad():
        found = [read_states(model.eval(), wanted) for wanted in (None, READ)]
    torch.testing.assert_close(found[0], found[1], atol=1e-4, rtol=1e-4)


def test_only_the_positions_that_are_read_go_through_the_block():
    model, sizes = llama(), []
    feed_forward_of(model).up_proj.register_forward_hook(lambda _m, _in, out: sizes.append(out.shape[:-1].numel()))
    read_states(model, READ)
    assert sizes[-1] == len(set(READ))
    read_states(model, None)
    assert sizes[-1] == IDS.numel()


def test_a_block_that_mixes_tokens_is_left_alone():
    class Mixing(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.eye(32))

        def forward(self, states: torch.Tensor) -> torch.Tensor:
            return (states @ self.weight).cumsum(1)

    model = llama()
    model.layers[-1].mlp = Mixing()
    assert torch.equal(read_states(model, READ), read_states(model, None))


def test_layers_that_the_backward_makes_anew_work_at_the_same_positions():
    model, found = llama(), []
    for again in (False, True):
        if again:
            recompute_layers(model)
        model.zero_grad()
        (read_states(model, READ) * torch.arange(32.0)).sum().backward()
        found.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    torch.testing.assert_close(found[0], found[1], atol=1e-4, rtol=1e-5)
