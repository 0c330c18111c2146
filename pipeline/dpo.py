"""Train a policy directly on groups of ranked completions: `python -m pipeline.dpo RUN_DIRECTORY`.

Direct preference optimisation (Rafailov et al. 2023) with soft preferences and weights. The reference's
log-probabilities are taken once per completion before training, so no second model is held while
training; the policy forwards each completion once per pass, however many pairs it is in. At the end the
distance to the reference is sampled on eval prompts.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pipeline.configs import DPOConfig, make_config
from pipeline.divergence import Divergence, sample_text, sampled_kl
from pipeline.group_trainer import (
    GroupTrainer,
    Schedule,
    Score,
    evaluate_groups,
    forget_checkpoints,
    notes_on,
    pass_notes,
    passes,
)
from pipeline.groups import Group, GroupData, read_groups, read_prompts
from pipeline.job import Refused, main
from pipeline.losses import implicit_rewards
from pipeline.policy import Policy, load_policy, prompt_ids, save_policy, token_log_probs, weights_digest
from pipeline.run_directory import RunDirectory

KL_SAMPLES, SHOWN_SAMPLES = 256, 4
ENOUGH_STEPS = 24  # one person's first 40 rankings make 9 steps in 3 passes: too few to be felt


def work(run: RunDirectory, config: dict) -> dict:
    """Train, measure on eval prompts, save. Raises Refused for nothing to learn and for a KL that is not finite."""
    options = make_config("dpo", config.get("options"))
    start = config["models"]["policy"]
    frozen = config["models"].get("reference") or start
    policy = load_policy(start["path"], start.get("device"))
    data = read_groups(run.data, policy.tokenizer, min(options.max_length, policy.max_length))
    groups = [*data.train, *data.eval]
    if frozen["path"] == start["path"]:
        log_probs = reference_log_probs(policy.model, groups)
    else:
        log_probs = reference_log_probs(load_policy(frozen["path"], frozen.get("device")).model, groups)
    before = weights_digest(policy.model)

    score = implicit_reward_of(log_probs, options.beta)
    epochs = passes(len(data.train), options, ENOUGH_STEPS)
    schedule = Schedule(epochs, options.groups_per_step, options.learning_rate, options.seed)
    trainer = GroupTrainer(run, policy.model, data, score, schedule)
    trainer.fit(run)
    digest = weights_digest(policy.model)
    if digest == before:
        raise Refused("Training changed no weight of the policy; raise learning_rate or epochs.")

    metrics = evaluate_groups(policy.model, data.eval, score, schedule)
    reference = load_policy(frozen["path"], frozen.get("device"))
    found = measured_divergence(run, policy, reference, data, options, trainer.state.global_step)
    save_policy(policy, run.model)
    forget_checkpoints(run)
    return {
        "model": "artifacts/model",
        "role": "policy",
        "weights_digest": digest,
        "metrics": {**metrics, "objective/kl": found.kl, "objective/kl_standard_error": found.standard_error},
        "sizes": data.sizes,
        "notes": notes_on(data) + pass_notes(epochs, options),
    }


@torch.no_grad()
def reference_log_probs(model: nn.Module, groups: Sequence[Group]) -> dict[str, Tensor]:
    """Summed log-probability of each completion [K], by the group's prompt id; one forward per completion."""
    found = iter(token_log_probs(model, [sequence for group in groups for sequence in group.sequences]))
    return {g.prompt_id: torch.stack([next(found).sum() for _ in g.completions]) for g in groups}


def implicit_reward_of(reference: dict[str, Tensor], beta: float) -> Score:
    """The function from model and groups to DPO's implicit rewards [N]."""

    def score(model: nn.Module, groups: Sequence[Group]) -> Tensor:
        found = token_log_probs(model, [sequence for group in groups for sequence in group.sequences])
        frozen = torch.cat([reference[group.prompt_id] for group in groups])
        return implicit_rewards(torch.stack([part.sum() for part in found]), frozen, beta)

    return score


def measured_divergence(
    run: RunDirectory, policy: Policy, reference: Policy, data: GroupData, options: DPOConfig, step: int
) -> Divergence:
    """KL to the reference on eval prompts (train prompts where there are none), with samples in the metrics.

    Completions may be half as long again as the longest in the data. Raises Refused where it is not finite.
    """
    messages = list((read_prompts(run.data, "eval") or read_prompts(run.data, "train")).values())
    longest = max(len(c) for group in data.train for c in group.completions)
    new_tokens = min(longest + longest // 2 + 1, policy.max_length - 1, options.max_length - 1)
    room = min(options.max_length, policy.max_length) - new_tokens
    prompts = [prompt_ids(policy.tokenizer, m)[-room:] for m in messages]
    found = sampled_kl(policy, reference, prompts, new_tokens, seed=options.seed, count=KL_SAMPLES)
    if not math.isfinite(found.kl):
        raise Refused(f"The KL to the reference is {found.kl}; lower learning_rate or raise beta.")
    facts = {"objective/kl": found.kl, "len/mean": found.mean_length, "len/eos_rate": found.eos_rate}
    run.append_metrics(step, facts)
    for i, sampled in list(zip(found.prompts, found.samples, strict=True))[:SHOWN_SAMPLES]:
        run.append_metrics(step, {"sample": sample_text(policy, messages[i], sampled.tokens)})
    return found


if __name__ == "__main__":
    main(work)
