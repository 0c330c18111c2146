"""Steps in few operations give the logits of the model's own forward, and only where they are its own."""

import pytest
import torch
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from pipeline.adapters import add_adapter
from pipeline.plain_steps import steps_plainly
from pipeline.sampling import sample

SIZES = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
PROMPTS = [[5, 6, 7], [9, 8, 7, 6, 5, 4], [5], [11, 12]]
SCALED = {"rope_type": "llama3", "rope_theta": 10_000.0, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}


def model_of(kind, config, **more):
    torch.manual_seed(0)
    return kind(config(**SIZES, attn_implementation="eager", **more)).eval()


@pytest.mark.parametrize(
    ("kind", "config", "more"),
    [
        (LlamaForCausalLM, LlamaConfig, {}),
        (LlamaForCausalLM, LlamaConfig, {"num_key_value_heads": 2, "attention_bias": True, "mlp_bias": True}),
        (LlamaForCausalLM, LlamaConfig, {"rope_parameters": {**SCALED, "original_max_position_embeddings": 16}}),
        (Qwen2ForCausalLM, Qwen2Config, {"num_key_value_heads": 2}),
    ],
)
def test_rows_of_several_lengths_are_sampled_as_by_the_model_itself(tiny_policy, monkeypatch, kind, config, more):
    model = model_of(kind, config, **more)
    policy = type(tiny_policy)(model, tiny_policy.tokenizer, torch.device("cpu"))
    assert steps_plainly(model)
    found = sample(policy, PROMPTS, 24)
    monkeypatch.setattr("pipeline.sampling.steps_plainly", lambda model: False)
    assert [one.tokens for one in found] == [one.tokens for one in sample(policy, PROMPTS, 24)]


def test_a_window_goes_the_usual_way_however_short_the_trial_was(tiny_policy, monkeypatch):
    model = model_of(MistralForCausalLM, MistralConfig, num_key_value_heads=2, sliding_window=6)
    policy = type(tiny_policy)(model, tiny_policy.tokenizer, torch.device("cpu"))
    stepped = []
    monkeypatch.setattr("pipeline.sampling.PlainSteps", lambda *given: stepped.append(given))
    assert all(one.tokens for one in sample(policy, PROMPTS[:1], 12)) and not stepped


@pytest.mark.parametrize(
    "model",
    [
        GPT2LMHeadModel(GPT2Config(vocab_size=64, n_positions=64, n_embd=32, n_layer=2, n_head=4)),
        OPTForCausalLM(
            OPTConfig(vocab_size=64, hidden_size=32, ffn_dim=48, word_embed_proj_dim=32, num_attention_heads=4)
        ),
        model_of(Qwen3ForCausalLM, Qwen3Config, num_key_value_heads=2, head_dim=8),
        model_of(Gemma2ForCausalLM, Gemma2Config, num_key_value_heads=2, head_dim=8),
        model_of(LlamaForCausalLM, LlamaConfig, hidden_act="gelu"),
        model_of(LlamaForCausalLM, LlamaConfig).to(torch.bfloat16),
    ],
)
def test_models_that_work_otherwise_go_the_usual_way(model):
    assert not steps_plainly(model)


def test_a_rotation_that_follows_the_length_goes_the_usual_way():
    dynamic = {"rope_type": "dynamic", "rope_theta": 10_000.0, "factor": 2.0}
    assert not steps_plainly(model_of(LlamaForCausalLM, LlamaConfig, rope_parameters=dynamic))


def test_an_adapter_goes_the_usual_way_and_back_without_it():
    model = model_of(LlamaForCausalLM, LlamaConfig)
    assert steps_plainly(model)
    add_adapter(model, 2, 4.0)
    assert not steps_plainly(model)


def test_weights_that_changed_since_are_the_ones_that_are_used(tiny_policy):
    before = sample(tiny_policy, PROMPTS, 12)
    with torch.no_grad():
        for weight in tiny_policy.model.parameters():
            weight.mul_(1.5)
    assert [one.tokens for one in sample(tiny_policy, PROMPTS, 12)] != [one.tokens for one in before]


def test_a_model_that_somebody_listens_to_goes_the_usual_way():
    model = model_of(LlamaForCausalLM, LlamaConfig)
    handle = model.get_output_embeddings().register_forward_hook(lambda *_: None)
    assert not steps_plainly(model)
    handle.remove()
    assert steps_plainly(model)
