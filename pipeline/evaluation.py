"""Measure a policy without people: sample on eval prompts, score, compare with a baseline.

The reward model's opinion is not people's: the leaderboard is where they are asked. Training prompts are used
only where there are too few eval prompts.

    python -m pipeline.evaluation RUN_DIRECTORY
"""

import math
from collections.abc import Sequence

import torch

from pipeline.configs import EvaluateConfig, make_config
from pipeline.divergence import completion_log_probs
from pipeline.generation import PromptRow, read_prompt_rows, seed_of
from pipeline.job import Cancelled, Progress, Refused, main
from pipeline.policy import Policy, load_policy, prompt_ids
from pipeline.reward_model import load_reward, normalised, score_texts
from pipeline.run_directory import RunDirectory
from pipeline.sampling import Sampled, decode, sample
from pipeline.shared_base import Seat, Shelf


def work(run: RunDirectory, config: dict) -> dict:
    """One completion per prompt by the policy, and by `against` where there is one; figures as `measure` says."""
    options: EvaluateConfig = make_config("evaluate", config.get("options"))
    rows = read_prompt_rows(run.data, options.prompts, eval_first=True)
    progress = Progress(run, 3)
    models = config["models"]
    shelf = Shelf(load_policy)
    policy, against = (
        shelf.get(models[place]["path"], models[place].get("device")) if place in models else None
        for place in ("policy", "against")
    )
    rows = _fitting(rows, [seat.policy for seat in (policy, against) if seat])
    own, other, scores = Answers(policy, rows, options, 0), None, {}
    _step(progress, 1, "sampled from the policy")
    if against:
        other = Answers(against, rows, options, 1)
    _step(progress, 2, "sampled from the baseline")
    if "reward" in models:
        scores = _scores(models["reward"], rows, own, other)
    metrics = measure(own, other, scores)
    run.append_metrics(len(rows), {name: value for name, value in metrics.items() if value is not None})
    evaluated = sum(row.split == "eval" for row in rows)
    return {"metrics": metrics, "sizes": {"eval_prompts": evaluated, "train_prompts": len(rows) - evaluated}}


class Answers:
    """What one policy answered to the prompts, as ids and as texts."""

    def __init__(self, seat: Seat, rows: Sequence[PromptRow], options: EvaluateConfig, place: int):
        policy = self.policy = seat.policy
        self.meanwhile, self.temperature = seat.meanwhile, options.temperature
        self.prompts = [prompt_ids(policy.tokenizer, row.messages) for row in rows]
        seed = seed_of(options.seed, "evaluate", place)
        with self.meanwhile():
            self.sampled: list[Sampled] = sample(
                policy, self.prompts, options.max_new_tokens, options.temperature, seed
            )
        self.texts = [decode(policy.tokenizer, one.tokens) for one in self.sampled]

    def log_probs(self, sequences: Sequence[tuple[list[int], list[int]]], temperature: float) -> torch.Tensor:
        """This policy's log-probability of each whole completion [N], whoever wrote it."""
        with self.meanwhile():
            return completion_log_probs(self.policy, sequences, temperature)


def measure(own: Answers, other: Answers | None, scores: dict[str, list[float]]) -> dict[str, float | None]:
    """The figures of an evaluation; None where a model to measure with is missing.

    reward/mean in standard deviations from the reward model's reference samples, with its standard error;
    reward/win_rate against the baseline, ties half; objective/kl of the policy to the baseline in nats per
    completion, None between different vocabularies; len/mean in tokens; distinct as a share of the texts.
    """
    count = len(own.texts)
    kl, kl_error = _kl(own, other)
    mean, error = _mean(scores.get("policy"))
    return {
        "reward/mean": mean,
        "reward/standard_error": error,
        "reward/win_rate": _win_rate(scores.get("policy"), scores.get("against")),
        "objective/kl": kl,
        "objective/kl_standard_error": kl_error,
        "len/mean": sum(len(one.tokens) for one in own.sampled) / count,
        "len/eos_rate": sum(one.ended for one in own.sampled) / count,
        "distinct": len(set(own.texts)) / count,
    }


def _fitting(rows: list[PromptRow], policies: Sequence[Policy]) -> list[PromptRow]:
    fits = [r for r in rows if all(len(prompt_ids(p.tokenizer, r.messages)) < p.max_length for p in policies)]
    if not fits:
        raise Refused(f"prompts: found {len(rows)}, none short enough for the model; import shorter ones")
    return fits


def _step(progress: Progress, step: int, message: str) -> None:
    progress.step(step, message)
    if progress.cancelled:
        raise Cancelled("stopped before the end; an evaluation keeps nothing")


def _scores(model: dict, rows: Sequence[PromptRow], own: Answers, other: Answers | None) -> dict[str, list[float]]:
    reward = load_reward(model["path"], model.get("device"))
    found = {}
    for name, answers in (("policy", own), ("against", other)):
        if answers is not None:
            raw = score_texts(reward, [(row.messages, text) for row, text in zip(rows, answers.texts, strict=True)])
            found[name] = normalised(reward, raw)
    if any(not math.isfinite(score) for scores in found.values() for score in scores):
        raise Refused("reward: found a score that is not a finite number; train the reward model again")
    return found


def _kl(own: Answers, other: Answers | None) -> tuple[float | None, float | None]:
    if other is None or own.policy.tokenizer.get_vocab() != other.policy.tokenizer.get_vocab():
        return None, None
    sequences = [(prompt, one.tokens) for prompt, one in zip(own.prompts, own.sampled, strict=True)]
    mine, theirs = (answers.log_probs(sequences, own.temperature) for answers in (own, other))
    mean, error = _mean((mine - theirs).tolist())
    if not math.isfinite(mean):
        raise Refused("objective/kl: found a value that is not finite; the policy's weights are damaged")
    return mean, error


def _mean(values: Sequence[float] | None) -> tuple[float | None, float | None]:
    if not values:
        return None, None
    tensor = torch.tensor(values, dtype=torch.float64)
    return float(tensor.mean()), float(tensor.std() / math.sqrt(len(values))) if len(values) > 1 else None


def _win_rate(own: Sequence[float] | None, other: Sequence[float] | None) -> float | None:
    if own is None or other is None:
        return None
    return sum(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in zip(own, other, strict=True)) / len(own)


if __name__ == "__main__":
    main(work)
