"""The reward model: its score, its file format, its training and what it refuses."""

import json
import math

import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    LlamaForSequenceClassification,
)

from pipeline.job import Cancelled, Refused, run_job
from pipeline.policy import completion_ids, prompt_ids
from pipeline.reward import forward, new_reward, normalised, save_reward, score_tokens, spread
from pipeline.reward_model import load_reward, score_texts, with_spread, work
from pipeline.run_directory import RunDirectory
from tests.pipeline.conftest import tiny_model, tiny_tokenizer
from tests.pipeline.training_data import TEXTS, ranked_rows, training_run

ITEMS = [([{"role": "user", "content": "Write a short story."}], text) for text in TEXTS]
QUICK = {"epochs": 6, "groups_per_step": 2, "learning_rate": 3e-3}


def train(path, folder, options=None, rows=None) -> tuple[RunDirectory, dict]:
    run = training_run(path, "reward", {"policy": folder}, {**QUICK, **(options or {})}, rows)
    return run, work(run, run.config())


def test_training_orders_the_pairs_and_reports_held_out_figures(tmp_path, tiny_policy_folder):
    run, result = train(tmp_path / "run", tiny_policy_folder)
    metrics = run.metrics()[0]
    assert metrics[-1]["eval/accuracy"] == result["metrics"]["eval/accuracy"] > 0.8
    assert result["metrics"]["eval/nll"] < 0.693 and result["role"] == "reward"
    assert [m["step"] for m in metrics if "loss" in m] == list(range(1, 13))
    assert metrics[0]["loss"] == pytest.approx(0.693, abs=0.3) and not any(run.checkpoints.iterdir())


def test_others_can_load_it_and_read_the_same_score(tmp_path, tiny_policy_folder, exact):
    run, _ = train(tmp_path / "run", tiny_policy_folder)
    reward = load_reward(run.model, "cpu")
    theirs = AutoModelForSequenceClassification.from_pretrained(run.model)
    for (messages, text), score in zip(ITEMS, score_texts(reward, ITEMS), strict=True):
        ids = prompt_ids(reward.tokenizer, messages) + completion_ids(reward.tokenizer, text)
        assert theirs(input_ids=torch.tensor([ids])).logits.item() == pytest.approx(score, abs=1e-5)


def test_scores_are_normalised_by_the_policys_own_completions(tmp_path, tiny_policy_folder):
    run, _ = train(tmp_path / "run", tiny_policy_folder)
    reward, card = load_reward(run.model, "cpu"), json.loads((run.model / "reward.json").read_text())
    rows = [r for r in ranked_rows()["completions"] if r["completion_id"] < 40]
    prompts = {r["prompt_id"]: json.loads(r["messages"]) for r in ranked_rows()["prompts"]}
    scores = normalised(reward, score_texts(reward, [(prompts[r["prompt_id"]], r["text"]) for r in rows]))
    assert spread(scores) == pytest.approx((0, 1), abs=1e-3) and card["samples"] == 16


def test_a_score_does_not_depend_on_its_neighbours_padding(tiny_policy_folder, exact):
    reward = new_reward(tiny_policy_folder, 0, 512, "cpu")
    sequences = [([5, 6, 7], [8] * n) for n in (1, 9, 30)]
    alone = [forward(reward.model, [s]).item() for s in sequences]
    assert score_tokens(reward, sequences) == pytest.approx(alone, abs=1e-5)


def test_the_end_token_is_scored_also_where_it_is_the_pad_token(tiny_policy_folder, tmp_path, exact):
    reward = new_reward(tiny_policy_folder, 0, 512, "cpu")
    distinct = score_texts(reward, ITEMS)
    reward.tokenizer.pad_token = reward.tokenizer.eos_token
    save_reward(reward, tmp_path / "model")
    same = load_reward(tmp_path / "model", "cpu")
    assert score_texts(same, ITEMS) == pytest.approx(distinct, abs=1e-5)
    assert same.model.config.pad_token_id is None


def test_the_result_reports_on_held_out_prompts(tmp_path, tiny_policy_folder):
    run, result = train(tmp_path / "run", tiny_policy_folder)
    report = json.loads((run.artifacts / "report.json").read_text())
    assert report == json.loads(json.dumps(result["report"]))
    assert report["held_out"]["accuracy"] == pytest.approx(result["metrics"]["eval/accuracy"])
    assert report["held_out"]["nll"] == pytest.approx(result["metrics"]["eval/nll"], abs=1e-5)
    assert report["longer_wins"]["accuracy"] == result["metrics"]["eval/longer_wins"]
    assert report["by_source"]["tiny | tiny"]["comparisons"] == 12 and len(report["by_length_difference"]) == 3


def test_a_ranking_loss_trains_too(tmp_path, tiny_policy_folder):
    run, result = train(tmp_path / "run", tiny_policy_folder, {"loss": "plackett-luce"})
    assert run.metrics()[0][0]["loss"] == pytest.approx(math.log(24), abs=0.5)
    assert result["metrics"]["eval/accuracy"] > 0.8


def test_graded_margins_ask_for_wider_leads(tmp_path, tiny_policy_folder):
    rows = ranked_rows()
    rows["comparisons"] = [{**row, "grade": 6 * row["preference"] - 3} for row in rows["comparisons"]]
    leads = [
        train(tmp_path / name, tiny_policy_folder, {"margin_scale": scale}, rows)[1]["metrics"]["eval/margin"]
        for name, scale in (("plain", 0.0), ("graded", 1.0))
    ]
    assert leads[1] > leads[0] + 0.1


def test_a_reward_model_goes_on_from_the_head_of_another(tmp_path, tiny_policy_folder, exact):
    first = new_reward(tiny_policy_folder, 3, 512, "cpu")
    save_reward(first, tmp_path / "first")
    again = new_reward(tmp_path / "first", 0, 512, "cpu")
    assert torch.equal(again.model.score.weight, first.model.score.weight)
    run = training_run(tmp_path / "run", "reward", {"policy": tiny_policy_folder, "base": tmp_path / "first"}, QUICK)
    assert work(run, run.config())["metrics"]["eval/accuracy"] > 0.8


def test_an_encoder_with_a_classification_head_can_be_the_base(tmp_path, exact):
    tokenizer = tiny_tokenizer()
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = BertConfig(vocab_size=len(tokenizer), num_labels=1, max_position_embeddings=128, **sizes)
    BertForSequenceClassification(config).save_pretrained(tmp_path / "bert")
    tokenizer.save_pretrained(tmp_path / "bert")
    run, result = train(tmp_path / "run", tmp_path / "bert")
    assert any("BertForSequenceClassification" in note and "not shared" in note for note in result["notes"])
    reward = load_reward(run.model, "cpu")
    alone = [score_texts(reward, [item])[0] for item in ITEMS]
    assert score_texts(reward, ITEMS) == pytest.approx(alone, abs=1e-5)


def test_a_policy_is_no_reward_model(tiny_policy_folder):
    with pytest.raises(Refused, match="no trained reward head"):
        load_reward(tiny_policy_folder, "cpu")


def test_a_classifier_of_several_labels_cannot_be_the_base(tmp_path):
    tokenizer = tiny_tokenizer()
    config = tiny_model(tokenizer).config
    config.num_labels = 3
    LlamaForSequenceClassification(config).save_pretrained(tmp_path / "three")
    tokenizer.save_pretrained(tmp_path / "three")
    with pytest.raises(Refused, match="cannot be the base of a reward model"):
        new_reward(tmp_path / "three", 0, 512, "cpu")


def test_scores_that_are_no_numbers_are_refused_in_a_sentence(tmp_path, tiny_policy_folder):
    reward = new_reward(tiny_policy_folder, 0, 512, "cpu")
    with torch.no_grad():
        reward.model.score.weight.fill_(math.nan)
    run = training_run(tmp_path / "run", "reward", {"policy": tiny_policy_folder})
    with pytest.raises(Refused, match="The reward's mean is nan"):
        with_spread(run, reward, "tiny")


def test_the_head_starts_small_and_by_the_seed(tiny_policy_folder):
    heads = [new_reward(tiny_policy_folder, seed, 512, "cpu").model.score.weight for seed in (0, 0, 1)]
    assert torch.equal(heads[0], heads[1]) and not torch.equal(heads[0], heads[2])
    assert heads[0].std().item() == pytest.approx(1 / 33**0.5, rel=0.4)


def test_equal_seeds_give_equal_weights(tmp_path, tiny_policy_folder):
    digests = [train(tmp_path / n, tiny_policy_folder, {"epochs": 1})[1]["weights_digest"] for n in "ab"]
    assert digests[0] == digests[1]


def test_without_eval_prompts_the_figures_are_null_and_it_says_so(tmp_path, tiny_policy_folder):
    _, result = train(tmp_path / "run", tiny_policy_folder, {"epochs": 1}, ranked_rows(train=2, held_out=0))
    assert result["metrics"]["eval/accuracy"] is None and "eval prompt" in result["notes"][0]


def test_tied_eval_prompts_give_no_accuracy_and_it_says_so(tmp_path, tiny_policy_folder):
    rows = ranked_rows()
    rows["comparisons"] = [{**r, "preference": 0.5} if r["split"] == "eval" else r for r in rows["comparisons"]]
    _, result = train(tmp_path / "run", tiny_policy_folder, {"epochs": 1}, rows)
    assert result["metrics"]["eval/accuracy"] is None and "are ties" in result["notes"][0]


def test_a_learning_rate_of_zero_is_refused(tmp_path, tiny_policy_folder):
    with pytest.raises(Refused, match="changed no weight"):
        train(tmp_path / "run", tiny_policy_folder, {"learning_rate": 0.0, "epochs": 1})


@pytest.mark.slow
def test_a_cancelled_run_goes_on_from_its_checkpoint_to_the_same_weights(tmp_path, tiny_policy_folder, monkeypatch):
    _, whole = train(tmp_path / "whole", tiny_policy_folder)
    run = training_run(tmp_path / "run", "reward", {"policy": tiny_policy_folder}, QUICK)
    with monkeypatch.context() as patched:
        patched.setattr(RunDirectory, "cancel_requested", lambda self: len(self.metrics()[0]) >= 4)
        with pytest.raises(Cancelled, match="of 12, checkpoint saved"):
            work(run, run.config())
    resumed = work(run, run.config())
    assert resumed["weights_digest"] == whole["weights_digest"]
    assert resumed["metrics"] == whole["metrics"]


def test_a_torn_checkpoint_is_passed_over(tmp_path, tiny_policy_folder):
    run = training_run(tmp_path / "run", "reward", {"policy": tiny_policy_folder}, {**QUICK, "epochs": 1})
    torn = run.checkpoints / "checkpoint-7"
    torn.mkdir()
    (torn / "trainer_state.json").write_text('{"global_st')
    assert work(run, run.config())["role"] == "reward"


def test_a_failed_run_leaves_its_reason(tmp_path, tiny_policy_folder):
    run = training_run(tmp_path / "run", "reward", {"policy": tiny_policy_folder}, rows=ranked_rows(train=0))
    assert run_job(run, work) == 1
    assert run.error()["kind"] == "Refused" and "Rank some tasks" in run.error()["message"]
