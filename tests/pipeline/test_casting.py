"""A norm's output is rounded once under autocast, and what the model computes stays the same."""

import torch
from transformers import LlamaConfig, LlamaModel

from pipeline.casting import cast_once

IDS = torch.tensor([[5, 6, 7, 8, 9]])
SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 64}


def models() -> tuple[LlamaModel, LlamaModel]:
    torch.manual_seed(0)
    plain = LlamaModel(LlamaConfig(**SIZES)).eval()
    other = LlamaModel(LlamaConfig(**SIZES)).eval()
    other.load_state_dict(plain.state_dict())
    return plain, cast_once(other)


def test_without_autocast_nothing_changes():
    plain, other = models()
    assert torch.equal(plain(IDS).last_hidden_state, other(IDS).last_hidden_state)


def test_under_autocast_products_share_one_rounding_and_the_residual_stream_stays_float32():
    plain, other = models()
    kinds = []
    other.layers[0].self_attn.q_proj.register_forward_pre_hook(lambda _m, inputs: kinds.append(inputs[0].dtype))
    other.norm.register_forward_pre_hook(lambda _m, inputs: kinds.append(inputs[0].dtype))
    with torch.autocast("cpu", torch.bfloat16):
        expected, found = plain(IDS).last_hidden_state, other(IDS).last_hidden_state
    assert kinds == [torch.bfloat16, torch.float32]
    torch.testing.assert_close(found, expected, atol=0.03, rtol=0.03)
