"""Train a reward model on groups of ranked completions: `python -m pipeline.reward_model RUN_DIRECTORY`.

The trunk of a causal language model (models.base, else models.policy) under a scalar head, all of it
trained by the Bradley-Terry loss over every pair of a group, each completion forwarded once (Ouyang et
al. 2022). Held-out accuracy comes from eval prompts only. `load_reward`, `score_texts` and `normalised`
of `pipeline.reward` are what other jobs use; they are importable from here too.
"""

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor, nn

from pipeline.configs import make_config
from pipeline.group_trainer import (
    GroupTrainer,
    Schedule,
    evaluate_groups,
    forget_checkpoints,
    notes_on,
    pass_notes,
    passes,
)
from pipeline.groups import Group, read_groups, read_prompts, read_rows
from pipeline.job import Refused, main
from pipeline.policy import weights_digest
from pipeline.reward import Reward, forward, load_reward, new_reward, normalised, save_reward, score_texts, spread
from pipeline.run_directory import RunDirectory

__all__ = ["Reward", "load_reward", "normalised", "score_texts", "work"]

INPUT_DROPOUT, WEIGHT_DECAY = 0.3, 0.1  # a few hundred groups are learned by heart in two passes without them
ENOUGH_STEPS = 80  # 40 groups: 62 % of unseen pairs in order after 3 passes of 16 a step, 80 % after 8 of 4
REFERENCE_SAMPLES = 2000  # most completions that mean and std are taken over
ENOUGH_OF_POLICY = 32  # fewer completions by the policy itself than this, and all authors' are taken


def work(run: RunDirectory, config: dict) -> dict:
    """Train, measure on eval prompts, save. Raises Refused for data without a preference to learn."""
    options = make_config("reward", config.get("options"))
    models = config["models"]
    base = models.get("base") or models["policy"]
    reward = new_reward(base["path"], options.seed, options.max_length, base.get("device"))
    data = read_groups(run.data, reward.tokenizer, reward.max_length)
    before = weights_digest(reward.model)
    epochs = passes(len(data.train), options, ENOUGH_STEPS)
    schedule = Schedule(
        epochs,
        options.groups_per_step,
        options.learning_rate,
        options.seed,
        options.centering,
        INPUT_DROPOUT,
        WEIGHT_DECAY,
    )
    trainer = GroupTrainer(run, reward.model, data, score_groups, schedule)
    trainer.fit(run)
    digest = weights_digest(reward.model)
    if digest == before:
        raise Refused("Training changed no weight of the reward model; raise learning_rate or epochs.")
    reward, samples = with_spread(run, reward, models.get("policy", base).get("name"))
    save_reward(reward, run.model, {"samples": samples, "base": base.get("name", str(base["path"]))})
    metrics = evaluate_groups(reward.model, data.eval, score_groups, schedule)
    forget_checkpoints(run)
    return {
        "model": "artifacts/model",
        "role": "reward",
        "weights_digest": digest,
        "metrics": {**metrics, "reward/mean": reward.mean, "reward/std": reward.std},
        "sizes": data.sizes,
        "notes": [*notes_on(data), *pass_notes(epochs, options)],
    }


def score_groups(model: nn.Module, groups: Sequence[Group]) -> Tensor:
    """The score of every completion of the groups, one after another [N]."""
    return forward(model, [sequence for group in groups for sequence in group.sequences])


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
