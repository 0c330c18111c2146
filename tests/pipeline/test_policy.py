"""A policy scores what it samples: log-probabilities are those of the plain forward, whatever the batch."""

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from pipeline.policy import (
    completion_ids,
    load_policy,
    micro_batches,
    prompt_ids,
    save_policy,
    token_log_probs,
    weights_digest,
)
from tests.pipeline.conftest import tiny_model, tiny_tokenizer

PAIRS = [
    ("Write a story", "Once upon a time"),
    ("Hi", "Thank you."),
    ("How do I clean a lamp?", "Heat the pan and stir"),
]


def sequences(policy):
    tokenizer = policy.tokenizer
    return [(prompt_ids(tokenizer, [{"role": "user", "content": p}]), completion_ids(tokenizer, c)) for p, c in PAIRS]


@pytest.fixture
def no_autocast(monkeypatch):
    monkeypatch.setattr("pipeline.precision.bfloat16_is_fast", lambda device: False)


def plain_log_probs(model, prompt, completion, temperature=1.0):
    logits = model(torch.tensor([prompt + completion])).logits[0].float() / temperature
    rows = torch.log_softmax(logits, -1)[len(prompt) - 1 : -1]
    return rows.gather(-1, torch.tensor(completion)[:, None]).squeeze(-1)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("budget", [1, 2048])
def test_log_probs_equal_those_of_a_plain_forward(tiny_policy, no_autocast, temperature, budget):
    batch = sequences(tiny_policy)
    found = token_log_probs(tiny_policy.model, batch, temperature, budget)
    for (prompt, completion), log_probs in zip(batch, found, strict=True):
        assert log_probs.shape == (len(completion),)
        expected = plain_log_probs(tiny_policy.model, prompt, completion, temperature)
        torch.testing.assert_close(log_probs, expected, atol=1e-5, rtol=0)


def test_log_probs_carry_a_gradient(tiny_policy):
    sum(x.sum() for x in token_log_probs(tiny_policy.model, sequences(tiny_policy))).backward()
    assert tiny_policy.model.get_input_embeddings().weight.grad.abs().sum() > 0


def test_end_of_sequence_is_scored_when_it_is_also_the_pad_id(tiny_policy, no_autocast):
    batch = sequences(tiny_policy)
    before = token_log_probs(tiny_policy.model, batch)
    tiny_policy.tokenizer.pad_token = tiny_policy.tokenizer.eos_token
    after = token_log_probs(tiny_policy.model, batch)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_an_empty_prompt_is_refused(tiny_policy):
    with pytest.raises(ValueError, match="empty prompt or completion"):
        token_log_probs(tiny_policy.model, [([], [5])])


def test_micro_batches_keep_the_budget_and_every_row():
    groups = micro_batches([5, 9, 1, 9, 30], token_budget=20)
    assert sorted(i for group in groups for i in group) == [0, 1, 2, 3, 4]
    assert groups == [[4], [1, 3], [0, 2]]


def test_saved_policy_comes_back_with_the_same_weights(tiny_policy, tmp_path):
    save_policy(tiny_policy, tmp_path / "model")
    again = load_policy(tmp_path / "model", device="cpu")
    assert weights_digest(again.model) == weights_digest(tiny_policy.model)
    assert again.tokenizer.chat_template == tiny_policy.tokenizer.chat_template
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_digest_changes_with_one_weight(tiny_policy):
    before = weights_digest(tiny_policy.model)
    with torch.no_grad():
        tiny_policy.model.get_input_embeddings().weight[3, 3] += 1e-3
    assert weights_digest(tiny_policy.model) != before


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"found no config\.json"):
        load_policy(tmp_path / "nothing")


def test_prompt_ids_follow_the_chat_template(tiny_policy):
    ids = prompt_ids(tiny_policy.tokenizer, [{"role": "user", "content": "Hi"}])
    assert tiny_policy.tokenizer.decode(ids) == "<|user|>Hi<|assistant|>"


def test_prompt_ids_without_a_template_use_the_plain_default():
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = None
    ids = prompt_ids(tokenizer, [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}])
    assert tokenizer.decode(ids) == "System:\nBe kind.\n\nUser:\nHi\n\nAssistant:\n"


def test_a_template_that_refuses_system_messages_gets_them_in_the_first_turn():
    tokenizer = tiny_tokenizer()
    refusal = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    tokenizer.chat_template = refusal + tokenizer.chat_template
    ids = prompt_ids(tokenizer, [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}])
    assert tokenizer.decode(ids) == "<|user|>Be kind.\n\nHi<|assistant|>"


def test_completion_ids_end_with_end_of_sequence_and_decode_back():
    tokenizer = tiny_tokenizer()
    ids = completion_ids(tokenizer, "Grüße, fox!")
    assert ids[-1] == tokenizer.eos_token_id and tokenizer.decode(ids[:-1]) == "Grüße, fox!"


def test_dropout_is_off_in_training_mode_and_other_architectures_load(tmp_path):
    tokenizer = tiny_tokenizer()
    config = GPT2Config(vocab_size=len(tokenizer), n_embd=32, n_layer=1, n_head=2, n_positions=64, eos_token_id=2)
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "gpt2")
    tokenizer.save_pretrained(tmp_path / "gpt2")
    policy = load_policy(tmp_path / "gpt2", device="cpu")
    policy.model.train()
    first, second = (token_log_probs(policy.model, sequences(policy)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_random_models_of_two_seeds_differ():
    tokenizer = tiny_tokenizer()
    assert weights_digest(tiny_model(tokenizer, 0)) != weights_digest(tiny_model(tokenizer, 1))
