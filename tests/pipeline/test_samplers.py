"""Who writes the completions: engines get the policy's weights, sample the policy itself, and are tried first."""

import sys
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from pipeline import samplers
from pipeline.actor_critic import ActorCritic
from pipeline.adapters import merge
from pipeline.job import Refused
from pipeline.policy import load_policy
from pipeline.samplers import ContinuousSampler, OwnSampler, VLLMSampler, choose, differs, merged_weights
from pipeline.sampling import Sampled, sample
from tests.pipeline.ppo_parts import trained_adapter
from tests.pipeline.training_data import exact_arithmetic

PROMPTS = [[5, 6, 7], [8, 9], [10]]


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    exact_arithmetic(monkeypatch)
    monkeypatch.setattr("pipeline.samplers.bfloat16_is_fast", lambda device: False)


def test_auto_is_our_own_on_a_cpu(tiny_policy, tmp_path):
    found, notes = choose("auto", tiny_policy, 8, tmp_path)
    assert isinstance(found, OwnSampler) and notes == []
    uniform = torch.rand(3, 6, generator=torch.Generator().manual_seed(1))
    assert found.write(tiny_policy, PROMPTS, 1.0, uniform) == sample(tiny_policy, PROMPTS, 6, 1.0, uniform)


def test_vllm_is_refused_where_it_cannot_run(tiny_policy, tmp_path):
    with pytest.raises(Refused, match=r"sampler=vllm: vLLM needs a CUDA GPU.*Set sampler to own"):
        choose("vllm", tiny_policy, 8, tmp_path)


def test_vllm_is_refused_where_it_is_not_installed(tiny_policy, monkeypatch):
    elsewhere = SimpleNamespace(device=SimpleNamespace(type="cuda"), model=tiny_policy.model)
    assert "vllm is not installed" in samplers._missing("vllm", elsewhere)


def test_an_adapter_is_folded_into_the_weights_an_engine_gets(tmp_path, tiny_policy_folder):
    policy = load_policy(trained_adapter(tiny_policy_folder, tmp_path / "a"), "cpu")
    given = {name: weight.detach().clone() for name, weight in merged_weights(policy.model)}
    merged = dict(merge(policy.model).named_parameters())
    assert given.keys() == merged.keys()
    assert all(torch.allclose(given[name], merged[name], atol=1e-6) for name in given)


def test_an_engine_leaves_the_policys_own_configuration_alone(tiny_policy):
    before = tiny_policy.model.config.to_dict() | {"attention": tiny_policy.model.config._attn_implementation}
    engine = ContinuousSampler(tiny_policy)
    after = tiny_policy.model.config.to_dict() | {"attention": tiny_policy.model.config._attn_implementation}
    assert before == after and engine.copy.config is not tiny_policy.model.config


@pytest.mark.slow
def test_continuous_batching_samples_the_policy_as_it_is_now(tiny_policy):
    engine = ContinuousSampler(tiny_policy, blocks=4)
    with torch.no_grad():
        tiny_policy.model.get_input_embeddings().weight.mul_(1.5)  # a step of training
    assert differs(engine, tiny_policy, 0.7) == ""
    uniform = torch.full((3, 5), 0.5)
    found = engine.write(tiny_policy, PROMPTS, 0.7, uniform)
    actor = ActorCritic(tiny_policy, 0.7)
    for prompt, one in zip(PROMPTS, found, strict=True):
        own = actor.figures([(prompt, one.tokens)]).log_probs.tolist()
        assert one.log_probs == pytest.approx(own, abs=1e-3) and tiny_policy.pad_id not in one.tokens


class Wrong(OwnSampler):
    """An engine that samples another distribution than it should."""

    def write(self, policy, prompts, temperature, uniform, on_progress=None):
        """With log-probabilities a nat too high."""
        found, actor = super().write(policy, prompts, temperature, uniform), ActorCritic(policy, temperature)
        rows = zip(prompts, found, strict=True)
        return [
            Sampled(one.tokens, one.ended, (actor.figures([(p, one.tokens)]).log_probs + 1).tolist()) for p, one in rows
        ]


def test_an_engine_with_other_probabilities_or_none_is_not_trusted(tiny_policy):
    assert "1 nats per token from those of training" in differs(Wrong(8), tiny_policy)
    assert differs(OwnSampler(8), tiny_policy) == "it gave no log-probabilities."


class FakeEngine:
    """As much of vLLM's LLM as we use: it reads the folder, and samples by our own loop."""

    def __init__(self, model, **settings):
        self.folder, self.settings, self.told = model, settings, []

    def collective_rpc(self, name):
        """Remember."""
        self.told.append(name)

    def reset_prefix_cache(self):
        """Remember."""
        self.told.append("reset")

    def generate(self, asked, settings, use_tqdm):
        """What the weights in the folder write, with log-probabilities as vLLM gives them."""
        policy = load_policy(self.folder, "cpu")
        outputs = []
        for prompt, how in zip(asked, settings, strict=True):
            ids = prompt["prompt_token_ids"]
            tokens = sample(policy, [ids], how.max_tokens, how.temperature, how.seed)[0].tokens
            own = ActorCritic(policy, how.temperature).figures([(ids, tokens)]).log_probs.tolist()
            given = [{token: SimpleNamespace(logprob=value)} for token, value in zip(tokens, own, strict=True)]
            outputs.append(SimpleNamespace(outputs=[SimpleNamespace(token_ids=tuple(tokens), logprobs=given)]))
        return outputs


@pytest.fixture
def fake_vllm(monkeypatch):
    """A module named vllm."""
    monkeypatch.setitem(sys.modules, "vllm", SimpleNamespace(LLM=FakeEngine, SamplingParams=SimpleNamespace))


def test_vllm_gets_the_weights_of_now_and_samples_the_policy_itself(tiny_policy, tmp_path, fake_vllm):
    engine = VLLMSampler(tiny_policy, tmp_path / "sampler")
    assert differs(engine, tiny_policy) == "" and engine.engine.told == []
    with torch.no_grad():
        tiny_policy.model.get_input_embeddings().weight.mul_(1.5)
    assert differs(engine, tiny_policy, 0.7) == "" and engine.engine.told == ["reload_weights", "reset"]
    there = load_file(tmp_path / "sampler" / "model.safetensors")
    assert torch.equal(there["model.embed_tokens.weight"], tiny_policy.model.get_input_embeddings().weight)
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "sampler").config.vocab_size == 400


def test_vllm_is_asked_for_no_cut_and_never_the_pad_id(tiny_policy, tmp_path, fake_vllm):
    asked = VLLMSampler(tiny_policy, tmp_path)._settings(tiny_policy, 0.7, 12, 3)
    assert (asked.top_p, asked.top_k, asked.temperature, asked.max_tokens, asked.seed) == (1.0, -1, 0.7, 12, 3)
    assert asked.logit_bias == {tiny_policy.pad_id: -100.0} and asked.stop_token_ids == list(tiny_policy.eos_ids)
