"""Room for keys and values made once: the same tokens as with the model's own cache, and only where that is sound."""

import pytest
import torch
from transformers import DynamicCache, LlamaConfig, MistralConfig
from transformers.cache_utils import DynamicSlidingWindowLayer

from pipeline.sampling import sample
from pipeline.token_cache import RoomyLayer, cache_for
from tests.pipeline.training_data import exact_arithmetic

SHAPE = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 4}


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_samples_are_those_of_the_models_own_cache(monkeypatch, tiny_policy, attention):
    exact_arithmetic(monkeypatch)
    tiny_policy.model.set_attn_implementation(attention)
    tiny_policy.model.generation_config.eos_token_id = list(range(50, 130))  # rows end and leave along the way
    prompts = [[5 + n] * (1 + n % 5) for n in range(16)]
    found = sample(tiny_policy, prompts, 24, seed=3)
    monkeypatch.setattr("pipeline.sampling.cache_for", lambda config, room: DynamicCache(config=config))
    assert sample(tiny_policy, prompts, 24, seed=3) == found and len({len(one.tokens) for one in found}) > 3


def test_rows_that_stay_keep_their_keys_and_nothing_is_copied_for_a_token():
    layer, states = RoomyLayer(room=6), torch.arange(24.0).reshape(3, 1, 4, 2)
    layer.update(states, -states)
    layer.batch_select_indices(torch.tensor([0, 2]))
    place = layer.keys.data_ptr()
    keys, values = layer.update(torch.ones(2, 1, 1, 2), torch.ones(2, 1, 1, 2))
    assert torch.equal(keys[:, :, :4], states[[0, 2]]) and torch.equal(values[:, :, :4], -states[[0, 2]])
    assert keys.data_ptr() == place and layer.get_seq_length() == 5 and layer.get_mask_sizes(1) == (6, 0)


def test_only_models_whose_layers_all_look_at_everything_get_it():
    assert all(type(layer) is RoomyLayer for layer in cache_for(LlamaConfig(**SHAPE), 8).layers)
    windows = cache_for(MistralConfig(**SHAPE, sliding_window=4), 8).layers
    assert all(isinstance(layer, DynamicSlidingWindowLayer) for layer in windows)
