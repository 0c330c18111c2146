"""People's own answers as PPO reads them."""

import json

import torch

from pipeline.demonstrations import Demonstrations, read_demonstrations
from tests.pipeline.training_data import write_rows

PROMPTS = [
    {"prompt_id": f"p-{n}", "messages": json.dumps([{"role": "user", "content": f"Hi {n}"}]), "split": split}
    for n, split in enumerate(("train", "eval", "train"))
]


def test_answers_to_train_prompts_are_read_with_their_prompts(tmp_path, tiny_policy):
    write_rows(tmp_path, "prompts", PROMPTS)
    write_rows(tmp_path, "demonstrations", [{"prompt_id": f"p-{n}", "text": f"Thank you {n}."} for n in range(3)])
    found = read_demonstrations(tmp_path, tiny_policy, 128)
    assert [text for _, text in found.texts] == ["Thank you 0.", "Thank you 2."] and len(found) == 2
    assert all(completion[-1] == tiny_policy.eos_ids[0] for _, completion in found.sequences)
    assert found.texts[1][0] == [{"role": "user", "content": "Hi 2"}]


def test_long_answers_are_cut_and_no_file_is_no_answers(tmp_path, tiny_policy):
    write_rows(tmp_path, "prompts", PROMPTS)
    assert len(read_demonstrations(tmp_path, tiny_policy, 128)) == 0
    write_rows(tmp_path, "demonstrations", [{"prompt_id": "p-0", "text": "Soup. " * 100}])
    prompt, completion = read_demonstrations(tmp_path, tiny_policy, 40).sequences[0]
    assert len(prompt) + len(completion) <= 40


def test_draws_repeat_with_their_generator():
    shown = Demonstrations([], [([n], [n]) for n in range(9)])
    one, other = (shown.drawn(5, torch.Generator().manual_seed(3)) for _ in range(2))
    assert one == other and len(one) == 5
