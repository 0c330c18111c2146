"""Train a reward model on groups of ranked completions: `python -m pipeline.reward_model RUN_DIRECTORY`.

The trunk of a causal language model or of an earlier reward model (models.base, else models.policy) under a scalar
head, trained by the Bradley-Terry loss over every pair of a group, or by Plackett-Luce over its order, each
completion forwarded once and its prompt once for all of them (Ouyang et al. 2022). All figures come from eval
prompts, in more detail in artifacts/report.json (`reward_report.py` names them). `load_reward`, `score_texts` and
`normalised` of `pipeline.reward` are what other jobs use; they are importable from here too.
"""

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from pipeline.adapters import quantization, set_up
from pipeline.configs import RewardConfig, make_config
from pipeline.group_figures import Objective, Outcome, evaluate_groups, notes_on
from pipeline.group_trainer import GroupTrainer, Schedule, forget_checkpoints
from pipeline.groups import Group, collate, read_groups, read_prompts, read_rows
from pipeline.job import Refused
from pipeline.passes import pass_notes, passes, peak_rate, rate_notes
from pipeline.policy import weights_digest
from pipeline.precision import pick_device
from pipeline.preference_losses import REWARD_LOSSES
from pipeline.processes import main
from pipeline.recompute import recompute_layers
from pipeline.reward import (
    Reward,
    forward,
    forwards,
    load_reward,
    new_reward,
    normalised,
    reward_sharing,
    save_reward,
    score_texts,
    spread,
)
from pipeline.reward_report import reward_report
from pipeline.run_directory import RunDirectory, write_json

__all__ = ["Reward", "load_reward", "normalised", "score_texts", "work"]

INPUT_DROPOUT, WEIGHT_DECAY = 0.3, 0.1  # a few hundred groups are learned by heart in two passes without them
REFERENCE_SAMPLES = 2000  # most completions that mean and std are taken over
ENOUGH_OF_POLICY = 32  # fewer completions by the policy itself than this, and all authors' are taken
REPORT = "report.json"


def work(run: RunDirectory, config: dict) -> dict:
    """Train, measure on eval prompts, save. Raises Refused for data without a preference to learn."""
    options = make_config("reward", config.get("options"))
    models = config["models"]
    base = models.get("base") or models["policy"]
    bits = quantization(options.quantize, pick_device(base.get("device")), options.lora_rank)
    reward = new_reward(base["path"], options.seed, options.max_length, base.get("device"), bits)
    adapted = set_up(reward.model, options.lora_rank, options.lora_alpha, options.lora_dropout, options.seed)
    if options.gradient_checkpointing:
        recompute_layers(reward.model)
    data = read_groups(run.data, reward.tokenizer, reward.max_length)
    before = weights_digest(reward.model)
    epochs = passes(len(data.train), options)
    schedule = schedule_of(options, epochs, peak_rate(len(data.train), options))
    objective = reward_objective(options)
    trainer = GroupTrainer(run, reward.model, data, objective, schedule)
    trainer.fit(run)
    if not trainer.processes.first:
        return {}  # the first one measures and saves
    digest = weights_digest(reward.model)
    if digest == before:
        raise Refused("Training changed no weight of the reward model; raise learning_rate or epochs.")
    reward, samples = with_spread(run, reward, models.get("policy", base).get("name"))
    save_reward(reward, run.model, {"samples": samples, "base": base.get("name", str(base["path"]))})
    found = evaluate_groups(reward.model, data.eval, objective, schedule.token_budget, schedule.centering)
    report = reward_report(run.data, data.eval, found.scores)
    write_json(run.artifacts / REPORT, report)
    forget_checkpoints(run)
    together = reward_sharing(reward.model).reason
    return {
        "model": "artifacts/model",
        "role": "reward",
        "weights_digest": digest,
        "metrics": {**found.metrics, **headlines(report), "reward/mean": reward.mean, "reward/std": reward.std},
        "report": report,
        "sizes": data.sizes,
        "notes": [
            *notes_on(data),
            *pass_notes(epochs, options),
            *rate_notes(schedule.learning_rate, options),
            *trainer.notes,
            *adapted,
            *([together] if together else []),
        ],
    }


def schedule_of(options: RewardConfig, epochs: float, rate: float) -> Schedule:
    """How a reward model is trained with these options."""
    return Schedule(
        epochs,
        options.groups_per_step,
        rate,
        options.seed,
        options.centering,
        INPUT_DROPOUT,
        WEIGHT_DECAY,
        early_stop=options.early_stop,
    )


def reward_objective(options: RewardConfig) -> Objective:
    """The function from model and groups to the score of every completion [N] and the chosen loss."""
    loss = REWARD_LOSSES[options.loss]

    def outcome(scores: Tensor, groups: Sequence[Group]) -> Outcome:
        pairs = collate(groups, scores.device).pairs
        return Outcome(scores, pairs, loss(scores, pairs, options.margin_scale))

    return Objective(forward, outcome, forwards)


def headlines(report: dict) -> dict[str, float | None]:
    """The report's main figures under the names of metrics."""
    return {
        "eval/ece": report["held_out"]["ece"],
        "eval/temperature": report["held_out"]["temperature"],
        "eval/longer_wins": report["longer_wins"]["accuracy"],
        "eval/agreement": report["agreement"]["pairwise"],
    }


def with_spread(run: RunDirectory, reward: Reward, policy: str | None) -> tuple[Reward, int]:
    """The reward with mean and std over the policy's completions of train prompts, and how many those are.

    Completions by everybody are taken where the policy has too few. Raises Refused for scores that are
    not finite.
    """
    prompts = read_prompts(run.data, "train")
    rows = [row for row in read_rows(run.data, "completions") if row["prompt_id"] in prompts]
    own = [row for row in rows if row["model"] == policy]
    rows = (own if len(own) >= ENOUGH_OF_POLICY else rows)[:REFERENCE_SAMPLES]
    mean, std = spread(score_texts(reward, [(prompts[row["prompt_id"]], row["text"]) for row in rows]))
    if not abs(mean) + std < float("inf"):
        raise Refused(f"The reward's mean is {mean} and its std {std}; lower learning_rate and train again.")
    return replace(reward, mean=mean, std=std), len(rows)


if __name__ == "__main__":
    main(work)
