"""Attention in blocks: whatever the lengths, what a token sees is its prompt and its own completion up to itself."""

import pytest
import torch
from transformers import LlamaConfig, LlamaModel

from pipeline.packing import ALWAYS, APART, Sharing, predicting_positions, rows_of, states_at
from pipeline.plain_attention import attend_plainly
from pipeline.prefix_attention import lay_out, like_lengths

pytestmark = pytest.mark.usefixtures("exact")

BLOCKS, CPU = Sharing(ALWAYS, by="blocks"), torch.device("cpu")


def body(shared_heads: int = 4) -> LlamaModel:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "vocab_size": 64}
    return LlamaModel(LlamaConfig(**sizes, num_attention_heads=4, num_key_value_heads=shared_heads)).eval()


def random_sequences(lengths: list[tuple[int, list[int]]]) -> list[tuple[list[int], list[int]]]:
    draw = torch.Generator().manual_seed(1)

    def ids(count: int) -> list[int]:
        return torch.randint(1, 64, (count,), generator=draw).tolist()

    return [(prompt, ids(c)) for p, completions in lengths for prompt in [ids(p)] for c in completions]


def completion_states(model, sequences, how) -> torch.Tensor:
    rows = rows_of(sequences, how, 1)
    states = states_at(model, rows, CPU, predicting_positions, how)
    found = states.split([len(c) for row in rows for c in row.completions])
    order = torch.tensor([member for row in rows for member in row.members]).argsort()
    return torch.cat([found[i] for i in order])


@pytest.mark.parametrize(
    "lengths",
    [
        [(9, [4, 4, 4]), (9, [4, 4, 4])],  # one cluster, one block, as many behind each
        [(40, [3, 70, 5]), (8, [2, 2]), (38, [60, 4])],  # clusters of unlike prompts, blocks of unlike completions
        [(9, [4, 4]), (7, [5]), (8, [30, 3])],  # a prompt with nothing behind it in one of the blocks
        [(30, [4]), (2, [5]), (70, [3])],  # nobody shares
    ],
)
@pytest.mark.parametrize("shared_heads", [1, 4])
def test_states_and_gradients_equal_those_of_separate_forwards(lengths, shared_heads):
    model, sequences, found = body(shared_heads), random_sequences(lengths), []
    for how in (BLOCKS, APART):
        model.zero_grad()
        states = completion_states(model, sequences, how)
        (states * torch.arange(1.0, 33.0)).sum().backward()
        found.append((states.detach(), torch.cat([p.grad.flatten() for p in model.parameters()])))
    torch.testing.assert_close(found[0][0], found[1][0], atol=2e-5, rtol=0)
    torch.testing.assert_close(found[0][1], found[1][1], atol=2e-3, rtol=1e-4)  # gradients are up to 1000 here


def test_sequences_of_like_length_are_not_padded_and_unlike_ones_little():
    assert like_lengths([64] * 8) == [list(range(8))]
    assert like_lengths([100, 10, 90, 12]) == [[0, 2], [1, 3]]
    rows = [([1] * 128, [[2] * 64] * 4)] * 3
    assert len(lay_out(rows, CPU).ids) == 3 * (128 + 4 * 64)


def test_filling_the_row_up_changes_no_state(monkeypatch):
    model, sequences = body(), random_sequences([(9, [4, 5]), (3, [2])])
    expected = completion_states(model, sequences, BLOCKS)
    monkeypatch.setattr("pipeline.packing.width_multiple", lambda device: 64)
    torch.testing.assert_close(completion_states(model, sequences, BLOCKS), expected, atol=1e-6, rtol=0)
    assert len(lay_out([([5, 6, 7], [[8, 9]])], CPU, 64).ids) == 64


def test_positions_restart_after_every_completion():
    layout = lay_out([([5, 6, 7], [[8, 9], [10]])], CPU)
    assert layout.ids == [5, 6, 7, 8, 9, 10, 0] and layout.positions == [0, 1, 2, 3, 4, 3, 4]
    assert layout.prompts == [0] and layout.completions == [[3, 5]]


def test_the_mask_hides_other_completions_and_the_padding_of_prompts():
    (cluster,) = lay_out([([5, 6, 7], [[8, 9]]), ([5], [[8, 9], [3]])], CPU).clusters
    (block,) = cluster.blocks
    assert block.counts == [1, 2]
    assert block.seen[0, 0].tolist() == [[True] * 4 + [False], [True] * 5]
    assert block.seen[1, 0].tolist() == [[True, False, False, True, False], [True, False, False, True, True]]


@pytest.mark.parametrize(("length", "plain"), [(20, True), (90, False)])
def test_short_sequences_of_a_model_take_the_plain_attention(monkeypatch, length, plain):
    lengths = []
    monkeypatch.setattr(
        "pipeline.prefix_attention.attend_plainly",
        lambda query, key, *others: (lengths.append(key.shape[2]), attend_plainly(query, key, *others))[1],
    )
    completion_states(body(), random_sequences([(5, [length, length])]), BLOCKS)
    assert (length + 5 in lengths) == plain
