"""Train a policy directly on groups of ranked completions: `python -m pipeline.dpo RUN_DIRECTORY`.

Direct preference optimisation (Rafailov et al. 2023) and its family, with soft preferences and weights; the loss
is chosen by name (`preference_losses.py`). The reference's log-probabilities are taken once per completion before
training, from the cache where they are known, so no second model is held while training; the policy forwards
each completion once per pass, its prompt once for all of them. At the end the distance to the reference is
sampled on eval prompts.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.adapters import has_adapter, quantization, set_up
from pipeline.configs import DPOConfig, make_config
from pipeline.divergence import Divergence, sample_text, sampled_kl
from pipeline.group_figures import Objective, Outcome, evaluate_groups, notes_on
from pipeline.group_trainer import GroupTrainer, Schedule, forget_checkpoints
from pipeline.groups import Group, GroupData, collate, read_groups, read_prompts, sequences_of
from pipeline.job import Refused
from pipeline.log_probs import forwards
from pipeline.packing import PromptCompletion, sharing
from pipeline.passes import pass_notes, passes
from pipeline.policy import Policy, load_policy, prompt_ids, save_policy, token_log_probs, weights_digest
from pipeline.precision import bfloat16_is_fast, pick_device
from pipeline.preference_losses import POLICY_LOSSES, WITHOUT_REFERENCE, LogProbs, LossOptions, implicit_rewards
from pipeline.processes import Onlooker, main
from pipeline.recompute import recompute_layers
from pipeline.reference_cache import Known, known_log_probs, token_hash, write_log_probs
from pipeline.run_directory import RunDirectory

KL_SAMPLES, SHOWN_SAMPLES = 256, 4


def work(run: RunDirectory, config: dict) -> dict:
    """Train, measure on eval prompts, save. Raises Refused for nothing to learn and for a KL that is not finite."""
    options = make_config("dpo", config.get("options"))
    start = config["models"]["policy"]
    frozen = config["models"].get("reference") or start
    bits = quantization(options.quantize, pick_device(start.get("device")), options.lora_rank)
    policy = load_policy(start["path"], start.get("device"), quantization=bits)
    data = read_groups(run.data, policy.tokenizer, min(options.max_length, policy.max_length))
    same = frozen["path"] == start["path"]
    known = Reference({}, 0, 0)
    if options.loss not in WITHOUT_REFERENCE:
        asked = policy if same else load_policy(frozen["path"], frozen.get("device"))
        known = reference_of(run, asked, [*data.train, *data.eval])
    fresh = same and options.lora_rank > 0 and not has_adapter(policy.model)
    adapted = set_up(policy.model, options.lora_rank, options.lora_alpha, options.lora_dropout, options.seed)
    if options.gradient_checkpointing:
        recompute_layers(policy.model)
    before = weights_digest(policy.model)

    objective = preference_objective(known.log_probs, options)
    epochs = passes(len(data.train), options)
    schedule = Schedule(epochs, options.groups_per_step, options.learning_rate, options.seed)
    trainer = GroupTrainer(run, policy.model, data, objective, schedule)
    trainer.fit(run)
    if not trainer.processes.first:
        return {}  # the first one measures and saves
    digest = weights_digest(policy.model)
    if digest == before:
        raise Refused("Training changed no weight of the policy; raise learning_rate or epochs.")

    metrics = evaluate_groups(policy.model, data.eval, objective, schedule.token_budget).metrics
    reference = None if fresh else load_policy(frozen["path"], frozen.get("device"), quantization=bits)
    found = measured_divergence(run, policy, reference, data, options, trainer.state.global_step)
    save_policy(policy, run.model)
    forget_checkpoints(run)
    together = sharing(policy.model.get_decoder()).reason
    return {
        "model": "artifacts/model",
        "role": "policy",
        "weights_digest": digest,
        "metrics": {**metrics, "objective/kl": found.kl, "objective/kl_standard_error": found.standard_error},
        "sizes": {**data.sizes, "reference_known": known.known, "reference_computed": known.computed},
        "notes": [*notes_on(data), *pass_notes(epochs, options), *adapted, *([together] if together else [])],
    }


# ---- the reference
@dataclass(frozen=True)
class Reference:
    """Summed log-probabilities [K] by the group's prompt id, how many were known before and how many were computed."""

    log_probs: dict[str, Tensor]
    known: int
    computed: int


def reference_of(run: RunDirectory, reference: Policy, groups: Sequence[Group]) -> Reference:
    """What the run's data/ knows, the rest by one forward per completion; all of it is left in artifacts/."""
    arithmetic = "bfloat16" if bfloat16_is_fast(reference.device) else "float32"
    model = f"{weights_digest(reference.model)}-{arithmetic}"
    known = known_log_probs(run.data, model)
    missing = [g for g in groups if any(token_hash(g.prompt, c) not in known for c in g.completions)]
    computed = reference_log_probs(reference.model, missing)
    found, rows = {}, []
    for group in groups:
        hashes = [token_hash(group.prompt, completion) for completion in group.completions]
        own = computed.get(group.prompt_id)
        found[group.prompt_id] = torch.tensor([known[h] for h in hashes]) if own is None else own.cpu()
        values = found[group.prompt_id].tolist()
        rows += [Known(h, i, value) for h, i, value in zip(hashes, group.ids, values, strict=True)]
    if not isinstance(run, Onlooker):
        write_log_probs(run.artifacts, model, rows)
    fresh = sum(len(g.completions) for g in missing)
    return Reference(found, len(rows) - fresh, fresh)


@torch.no_grad()
def reference_log_probs(model: nn.Module, groups: Sequence[Group]) -> dict[str, Tensor]:
    """Summed log-probability of each completion [K], by the group's prompt id; one forward per completion."""
    found = iter(token_log_probs(model, sequences_of(groups)))
    return {g.prompt_id: torch.stack([next(found).sum() for _ in g.completions]) for g in groups}


# ---- the objective
def preference_objective(reference: dict[str, Tensor], options: DPOConfig) -> Objective:
    """The function from model and groups to implicit rewards [N] and the chosen loss.

    reference has summed log-probabilities [K] by prompt id; a loss that needs none takes an empty one.
    """
    loss = POLICY_LOSSES[options.loss]
    settings = LossOptions(options.beta, options.label_smoothing, options.target_margin)

    def outcome(own: Tensor, groups: Sequence[Group]) -> Outcome:
        frozen = None
        if options.loss not in WITHOUT_REFERENCE:
            frozen = torch.cat([reference[group.prompt_id] for group in groups]).to(own.device)
        lengths = torch.tensor([len(completion) for _, completion in sequences_of(groups)], device=own.device)
        found, pairs = LogProbs(own, frozen, lengths), collate(groups, own.device).pairs
        return Outcome(implicit_rewards(found, options.beta), pairs, loss(found, pairs, settings))

    return Objective(summed_log_probs, outcome, forwards)


def summed_log_probs(model: nn.Module, sequences: Sequence[PromptCompletion]) -> Tensor:
    """One for each completion [N]."""
    return torch.stack([part.sum() for part in token_log_probs(model, sequences)])


def measured_divergence(
    run: RunDirectory, policy: Policy, reference: Policy | None, data: GroupData, options: DPOConfig, step: int
) -> Divergence:
    """KL to the reference on eval prompts (train prompts where there are none), with samples in the metrics.

    Without a reference it is the policy with its adapter off. Completions may be half as long again as the longest
    in the data. Raises Refused where it is not finite.
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
