"""Completions behind one shared prompt: the same values and gradients as in forwards of their own."""

from contextlib import nullcontext

import pytest
import torch
from torch.nn.attention.flex_attention import create_mask, flex_attention
from transformers import (
    BloomConfig,
    BloomModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaModel,
    MambaConfig,
    MambaModel,
    MistralConfig,
    MistralModel,
)
from transformers.integrations.flex_attention import WrappedFlexAttention

from pipeline import log_probs as scoring
from pipeline import packing
from pipeline.packing import (
    ALWAYS,
    Places,
    Sharing,
    completion_tokens,
    last_positions,
    predicting_positions,
    row_batches,
    rows_of,
    sharing,
    states_at,
)
from pipeline.policy import token_log_probs
from pipeline.prefix_masks import block_mask, dense_mask
from pipeline.reward import forward, new_reward

pytestmark = pytest.mark.usefixtures("exact")

SEQUENCES = [
    ([5, 6, 7, 8], [9, 10, 2]),
    ([11, 12], [13, 14, 15, 2]),
    ([5, 6, 7, 8], [16, 2]),
    ([5, 6, 7, 8], [9, 17, 18, 19, 2]),
    ([11, 12], [20, 2]),
]
WAYS = BLOCKS, DENSE, FLEX = [Sharing(ALWAYS, by=by) for by in ("blocks", "dense", "flex")]
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 64}


def gradient(model, loss) -> torch.Tensor:
    model.zero_grad()
    loss.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("kind", ["eager", "sdpa"])
@pytest.mark.parametrize("way", WAYS[:2])
def test_log_probs_and_gradients_equal_those_of_separate_forwards(tiny_policy, monkeypatch, kind, way):
    model = tiny_policy.model
    model.set_attn_implementation(kind)
    monkeypatch.setattr(scoring, "sharing", lambda body: way)
    assert len(rows_of(SEQUENCES, way, 32)) == 2
    found, grads = [], []
    for share in (True, False):
        log_probs = torch.cat(token_log_probs(model, SEQUENCES, share=share))
        found.append(log_probs.detach())
        grads.append(gradient(model, (log_probs * torch.arange(len(log_probs))).sum()))
    torch.testing.assert_close(found[0], found[1], atol=1e-5, rtol=0)
    torch.testing.assert_close(grads[0], grads[1], atol=1e-4, rtol=1e-5)  # gradients are about 100 here


def test_scores_and_gradients_equal_those_of_separate_forwards(tiny_policy_folder):
    model = new_reward(tiny_policy_folder, 0, 512, "cpu").model
    together, apart = (forward(model, SEQUENCES, share=share) for share in (True, False))
    torch.testing.assert_close(together, apart, atol=1e-5, rtol=0)
    torch.testing.assert_close(
        gradient(model, together.square().sum()), gradient(model, apart.square().sum()), atol=1e-5, rtol=1e-5
    )


def test_scores_equal_a_plain_forward_padded_on_either_side(tiny_policy_folder):
    model = new_reward(tiny_policy_folder, 0, 512, "cpu").model
    expected = forward(model, SEQUENCES)
    for (prompt, completion), score in zip(SEQUENCES, expected, strict=True):
        ids, fill = [*prompt, *completion], [1, 1, 1]
        for tokens, real, at in (
            (fill + ids, [0] * 3 + [1] * len(ids), -1),
            (ids + fill, [1] * len(ids) + [0] * 3, -4),
        ):
            mask = torch.tensor([real])
            states = model.base_model(torch.tensor([tokens]), mask, (mask.cumsum(1) - 1).clamp(min=0)).last_hidden_state
            assert model.score(states[0, at]).item() == pytest.approx(score.item(), abs=1e-5)


def test_the_budget_and_the_order_of_sequences_change_nothing(tiny_policy):
    expected = token_log_probs(tiny_policy.model, SEQUENCES)
    for budget in (1, 12, 4096):
        for order in ([4, 2, 0, 1, 3], [0, 1, 2, 3, 4]):
            found = token_log_probs(tiny_policy.model, [SEQUENCES[i] for i in order], token_budget=budget)
            for i, log_probs in zip(order, found, strict=True):
                torch.testing.assert_close(log_probs, expected[i], atol=1e-5, rtol=0)


def test_a_projection_in_parts_changes_neither_values_nor_gradients(tiny_policy, monkeypatch):
    model, sizes = tiny_policy.model, []
    whole = torch.cat(token_log_probs(model, SEQUENCES))
    expected = whole.detach(), gradient(model, whole.sum())
    monkeypatch.setattr(scoring, "MOST_LOGITS", 3 * model.config.vocab_size)
    plain = scoring.project
    monkeypatch.setattr(scoring, "project", lambda m, states: sizes.append(len(states)) or plain(m, states))
    parts = torch.cat(token_log_probs(model, SEQUENCES))
    torch.testing.assert_close(parts.detach(), expected[0], atol=1e-6, rtol=0)
    torch.testing.assert_close(gradient(model, parts.sum()), expected[1], atol=1e-5, rtol=1e-5)
    assert max(sizes) == 3 and sum(sizes) == 2 * 16  # once forward, once again in the backward; prompts never


def test_the_dense_mask_and_the_block_mask_let_the_same_tokens_look():
    segments = torch.tensor([[0, 0, 0, 1, 1, 2, 2, 2, -1], [0, 1, 1, 1, 2, 3, 3, -1, -1]])
    block = block_mask(segments)
    look = create_mask(block.mask_mod, 2, None, 9, 9, device="cpu")
    assert torch.equal(dense_mask(segments) == 0, look)
    assert look[0, 0, 6].tolist() == [True] * 3 + [False] * 2 + [True] * 2 + [False] * 2
    assert look[1, 0, 8].tolist() == [True] + [False] * 7 + [True]  # padding looks at the prompt and itself


def test_flex_attention_gives_the_hidden_states_of_the_dense_mask(tiny_policy, monkeypatch):
    body, rows = tiny_policy.model.get_decoder(), rows_of(SEQUENCES, DENSE, 32)
    # the kernel as torch's own plain operations: compiling it takes a minute on a CPU
    monkeypatch.setattr(WrappedFlexAttention, "__init__", lambda self, training: None)
    monkeypatch.setattr(WrappedFlexAttention, "__call__", lambda self: flex_attention)
    with torch.no_grad():
        found = []
        for way in (DENSE, FLEX):
            found.append(states_at(body, rows, torch.device("cpu"), predicting_positions, way))
    torch.testing.assert_close(found[0], found[1], atol=1e-5, rtol=0)


def test_positions_point_at_the_completions_wherever_they_stand():
    rows = rows_of(SEQUENCES, DENSE, 1 << 20)
    assert [row.members for row in rows] == [[0, 2, 3], [1, 4]]
    places = Places([0, 20], [[4, 7, 9], [22, 26]])
    tokens = [(row.tokens + [0] * 20)[:20] for row in rows]
    assert [tokens[i // 20][i % 20] for i in last_positions(rows, places)] == [2] * 5
    assert predicting_positions(rows, places)[:5] == [3, 4, 5, 3, 7]
    assert completion_tokens(rows)[:5] == [9, 10, 2, 16, 2]


def test_under_a_mask_long_completions_of_a_short_prompt_go_alone():
    # attention over all of them would cost more than the prompt saves
    assert len(rows_of([([1], [2] * 900)] * 4, DENSE, 32)) == 4
    assert len(rows_of([([1] * 900, [2] * 20)] * 4, DENSE, 32)) == 1


def test_batches_keep_rows_that_share_apart_from_those_that_do_not():
    rows = rows_of([*SEQUENCES, ([30, 31], [32, 2])], DENSE, 1 << 20)
    batches = row_batches(rows, 1000)
    assert [[len(row.members) for row in batch] for batch in batches] == [[3, 2], [1]]


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        (BloomConfig(vocab_size=64, hidden_size=32, n_layer=2, n_head=4), BloomModel),  # positions by ALiBi
        (MambaConfig(vocab_size=64, hidden_size=32, num_hidden_layers=2, state_size=4), MambaModel),  # recurrent
    ],
)
def test_architectures_that_cannot_share_are_found_out_and_named(config, kind):
    found = sharing(kind(config).eval())
    assert found.limit == 0 and kind.__name__ in found.reason and "not shared" in found.reason


def test_a_dense_mask_is_taken_where_the_attention_cannot_be_replaced(tiny_policy, monkeypatch):
    monkeypatch.setattr(packing, "attention", lambda body, kind: nullcontext())  # as a model with its own would
    assert sharing(tiny_policy.model.get_decoder()) == DENSE


def test_architectures_that_can_share_are_found_out():
    gpt2 = GPT2LMHeadModel(GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4)).eval()
    llama = LlamaModel(LlamaConfig(**SMALL, intermediate_size=64)).eval()
    assert [sharing(body) for body in (gpt2.transformer, llama)] == [BLOCKS, BLOCKS]


def test_rows_longer_than_a_sliding_window_go_alone():
    config = MistralConfig(**SMALL, num_key_value_heads=4, intermediate_size=64, sliding_window=7)
    how = sharing(MistralModel(config).eval())
    assert how.limit == 7 and how.by == "blocks"
    assert [row.members for row in rows_of(SEQUENCES, how, 1 << 20)] == [[0, 2], [1, 4], [3]]
