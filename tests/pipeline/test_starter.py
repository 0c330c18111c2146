"""The starter trains in a fixed number of steps, repeats with its seed, and ends cleanly when asked to."""

import pytest
import torch

from pipeline.configs import StarterConfig
from pipeline.corpus import documents
from pipeline.job import Cancelled, Refused, run_job
from pipeline.policy import Policy, load_policy, prompt_ids, weights_digest
from pipeline.run_directory import RunDirectory
from pipeline.sampling import decode, sample
from pipeline.starter import batches, build_model, build_tokenizer, encode, evaluate, optimizers, rate_at, sharpen, work

OPTIONS = {"steps": 12, "tokens": 256, "width": 32, "layers": 1, "heads": 2, "documents": 300}


def start(folder, **changes):
    run = RunDirectory.create(folder, {"kind": "starter", "options": {**OPTIONS, **changes}})
    return run, work(run, run.config())


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return start(tmp_path_factory.mktemp("runs") / "starter")


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer([f"{p}\n{c}" for p, c in documents(500)])


def test_result_names_the_model_and_its_figures(trained):
    run, result = trained
    policy = load_policy(run.model, device="cpu")
    assert result["role"] == "policy" and result["weights_digest"] == weights_digest(policy.model)
    figures = ("loss", "starter/well_formed", "starter/on_topic", "starter/all_topics", "eval/nll", "len/eos_rate")
    assert all(isinstance(result["metrics"][name], float) for name in figures)
    assert result["sizes"]["parameters"] == sum(p.numel() for p in policy.model.parameters())


def test_metrics_and_status_are_written_while_it_trains(trained):
    run, _ = trained
    rows, _ = run.metrics()
    assert [row["step"] for row in rows] == [10, 12]
    assert {"loss", "learning_rate", "tokens/s", "elapsed", "remaining"} <= rows[0].keys()
    assert rows[1]["loss"] < rows[0]["loss"] and run.status()["total"] == 12


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(trained, tmp_path):
    digest = trained[1]["weights_digest"]
    assert start(tmp_path / "again")[1]["weights_digest"] == digest
    assert start(tmp_path / "other", seed=1)[1]["weights_digest"] != digest


def test_saved_starter_keeps_template_and_special_tokens(trained):
    tokenizer = load_policy(trained[0].model, device="cpu").tokenizer
    ids = {tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id}
    assert len(ids) == 3 and None not in ids
    turns = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": "So"},
    ]
    assert (
        tokenizer.decode(prompt_ids(tokenizer, turns))
        == "<|bos|><|user|>Hi<|assistant|>Yes.<|eos|><|user|>So<|assistant|>"
    )


def test_cancel_ends_the_run_without_a_result(tmp_path):
    run = RunDirectory.create(tmp_path / "run", {"kind": "starter", "options": OPTIONS})
    run.request_cancel()
    with pytest.raises(Cancelled, match="step 0 of 12"):
        work(run, run.config())
    assert run_job(run, work) == 0 and run.result() is None and run.status()["phase"] == "cancelled"


def test_a_width_the_heads_do_not_divide_is_refused(tmp_path):
    with pytest.raises(Refused, match="found 48"):
        start(tmp_path / "run", width=48, heads=5)


def test_any_text_survives_the_tokenizer(tokenizer):
    text = "Grüße, 日本! How  do I\nclean a lamp?"
    assert decode(tokenizer, tokenizer(text)["input_ids"]) == text


def test_most_words_are_one_token(tokenizer):
    texts = [c for _, c in documents(200, 9)]
    tokens = sum(len(tokenizer(t)["input_ids"]) for t in texts)
    words = sum(len(t.replace(".", " .").replace(",", " ,").split()) for t in texts)
    assert tokens < 1.15 * words


def test_batches_hold_about_the_tokens_asked_for_and_repeat(tokenizer):
    data = encode(tokenizer, list(documents(400)))
    first, second = ([b for b, _ in zip(batches(data, 500, seed), range(20), strict=False)] for seed in (0, 0))
    assert first == second
    assert all(500 <= sum(len(p) + len(c) for p, c in batch) < 600 for batch in first)


def test_muon_takes_the_matrices_and_adamw_the_rest(tokenizer):
    model = build_model(StarterConfig(width=32, layers=1, heads=2), tokenizer)
    muon, adamw = optimizers(model, 0.01)
    assert len(muon.param_groups[0]["params"]) == 7 and len(adamw.param_groups[0]["params"]) == 4
    assert len(list(model.parameters())) == 11


def test_sharpening_is_a_temperature_on_the_logits(tokenizer):
    model = build_model(StarterConfig(width=32, layers=1, heads=2), tokenizer)
    ids = torch.tensor([[5, 6, 7]])
    before = model(ids).logits.detach()
    sharpen(model, 0.9)
    torch.testing.assert_close(model(ids).logits.detach(), before / 0.9)


def test_learning_rate_warms_up_and_falls():
    assert rate_at(0, 700) == pytest.approx(0.05) and rate_at(20, 700) == 1.0
    assert rate_at(699, 700) == pytest.approx(0.02, abs=0.002) and 0 < rate_at(0, 1) <= 1


def test_a_random_model_is_neither_well_formed_nor_on_topic(tokenizer):
    torch.manual_seed(0)
    model = build_model(StarterConfig(width=32, layers=1, heads=2), tokenizer)
    found = evaluate(Policy(model.eval(), tokenizer, torch.device("cpu")), 0, count=16)
    assert found["starter/well_formed"] == 0 and found["eval/nll"] > 5


@pytest.mark.slow
def test_the_default_starter_writes_well_formed_answers_to_the_point(tmp_path):
    run = RunDirectory.create(tmp_path / "run", {"kind": "starter", "options": {}})
    metrics = work(run, run.config())["metrics"]
    assert metrics["starter/well_formed"] >= 0.94 and metrics["starter/on_topic"] >= 0.85  # 256 samples: ± 0.015
    policy = load_policy(run.model)
    assert all(s.ended for s in sample(policy, [prompt_ids(policy.tokenizer, [{"role": "user", "content": "Hi"}])], 64))
