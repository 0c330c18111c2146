"""Sampling repeats with its seed, stops where the model says, and follows the model's own distribution."""

import pytest
import torch

from pipeline.policy import prompt_ids
from pipeline.sampling import decode, sample

TEXTS = ["Hi", "Write a short story about a bear", "How do I clean a lamp?", "Thank you", "soup"]


def prompts(policy, count=20):
    return [prompt_ids(policy.tokenizer, [{"role": "user", "content": TEXTS[i % 5]}]) for i in range(count)]


def test_same_seed_gives_the_same_tokens_and_another_seed_others(tiny_policy):
    runs = [sample(tiny_policy, prompts(tiny_policy), 12, seed=seed) for seed in (3, 3, 4)]
    assert runs[0] == runs[1] != runs[2]


@pytest.mark.parametrize("batch_size", [1, 3, 7])
def test_batch_size_does_not_change_the_tokens(tiny_policy, batch_size):
    whole = sample(tiny_policy, prompts(tiny_policy), 12, seed=3, batch_size=20)
    assert sample(tiny_policy, prompts(tiny_policy), 12, seed=3, batch_size=batch_size) == whole


def test_a_generator_goes_on_where_it_was(tiny_policy):
    generator = torch.Generator().manual_seed(3)
    first, second = (sample(tiny_policy, prompts(tiny_policy), 6, seed=generator) for _ in range(2))
    assert first == sample(tiny_policy, prompts(tiny_policy), 6, seed=3) and first != second


def test_every_end_of_sequence_id_stops_a_row(tiny_policy):
    stops = list(range(40, 200))  # nearly every second token ends a row
    tiny_policy.model.generation_config.eos_token_id = stops
    for sampled in sample(tiny_policy, prompts(tiny_policy), 30, seed=1):
        assert sampled.ended == (sampled.tokens[-1] in tiny_policy.eos_ids)
        assert not set(sampled.tokens[:-1]) & set(tiny_policy.eos_ids)


def test_next_to_no_work_is_done_on_rows_that_have_ended(tiny_policy):
    tiny_policy.model.generation_config.eos_token_id = list(range(40, 100))
    widths = []
    hook = lambda module, inputs, settings: widths.append(len(settings["input_ids"]))  # noqa: E731
    tiny_policy.model.register_forward_pre_hook(hook, with_kwargs=True)
    found = sample(tiny_policy, prompts(tiny_policy, 64), 30, seed=1)
    assert sum(widths) <= 8 / 7 * sum(len(one.tokens) for one in found)  # ended rows leave when an eighth has
    assert widths == sorted(widths, reverse=True) and widths[-1] < 16


def test_a_row_that_does_not_end_has_all_its_tokens(tiny_policy):
    found = sample(tiny_policy, prompts(tiny_policy), 3, seed=1)
    assert all(len(s.tokens) == 3 for s in found if not s.ended) and not all(s.ended for s in found)


def test_pad_is_never_sampled_even_where_the_model_wants_it(tiny_policy):
    head = tiny_policy.model.get_output_embeddings()
    head.register_forward_hook(lambda module, inputs, out: out.index_fill(-1, torch.tensor([0]), 50.0))
    assert tiny_policy.pad_id == 0
    assert all(0 not in s.tokens for s in sample(tiny_policy, prompts(tiny_policy), 8, seed=1))


def test_pad_that_is_also_end_of_sequence_can_be_sampled(tiny_policy):
    tiny_policy.tokenizer.pad_token = tiny_policy.tokenizer.eos_token
    eos = tiny_policy.tokenizer.eos_token_id
    hook = lambda module, inputs, out: out.index_fill(-1, torch.tensor([eos]), 50.0)  # noqa: E731
    tiny_policy.model.get_output_embeddings().register_forward_hook(hook)
    assert all(s.tokens == [eos] and s.ended for s in sample(tiny_policy, prompts(tiny_policy), 8, seed=1))


def test_first_tokens_follow_the_models_distribution(tiny_policy):
    prompt = prompts(tiny_policy, 1)[0]
    logits = tiny_policy.model(torch.tensor([prompt])).logits[0, -1].detach() * 4  # temperature 1/4
    logits[tiny_policy.pad_id] = -torch.inf
    expected = torch.softmax(logits, -1)
    found = sample(tiny_policy, [prompt] * 4000, 1, temperature=0.25, seed=0, batch_size=4000)
    counts = torch.bincount(torch.tensor([s.tokens[0] for s in found]), minlength=len(expected))
    likely = expected > 1e-3
    chi_square = ((counts - 4000 * expected) ** 2 / (4000 * expected))[likely].sum() / likely.sum()
    assert 0.7 < chi_square < 1.3  # per degree of freedom, of more than 200


def test_completions_are_cut_at_the_models_last_position(tiny_policy):
    long = [[5] * 250]
    assert len(sample(tiny_policy, long, 64, seed=0)[0].tokens) <= 6
    with pytest.raises(ValueError, match="expected 1 to 255"):
        sample(tiny_policy, [[5] * 256], 64)


def test_decode_leaves_out_the_end_and_keeps_the_text(tiny_policy):
    tokenizer = tiny_policy.tokenizer
    ids = tokenizer("The fox, happy .", add_special_tokens=False)["input_ids"]
    assert decode(tokenizer, [*ids, tokenizer.eos_token_id]) == "The fox, happy ."


def test_progress_counts_the_completions_done(tiny_policy):
    seen = []
    sample(tiny_policy, prompts(tiny_policy), 2, batch_size=8, on_progress=seen.append)
    assert seen == [8, 16, 20]
