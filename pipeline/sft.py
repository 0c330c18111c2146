"""Train a policy on people's own answers: `python -m pipeline.sft RUN_DIRECTORY`.

Supervised fine-tuning on demonstrations, imported, typed or edited: the mean negative log-likelihood of the
completion's tokens, the end-of-sequence token among them; prompts are read, not learned. Loss and perplexity come
from demonstrations on eval prompts, before and after; at the end the policy writes samples, and its distance to
the start is measured on them. Only completion positions are projected to the vocabulary, which is why this is
not TRL's SFTTrainer: that one projects all, or needs a GPU's kernel not to.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import Trainer

from pipeline.adapters import adapter_dropout, has_adapter, quantization, set_up
from pipeline.configs import SFTConfig, make_config
from pipeline.demonstrations import Demonstrations, read_demonstrations
from pipeline.divergence import Divergence, sample_text, sampled_kl
from pipeline.group_trainer import GroupTrainer, Schedule, forget_checkpoints
from pipeline.job import Refused, main
from pipeline.policy import (
    Policy,
    PromptCompletion,
    load_policy,
    micro_batches,
    save_policy,
    token_log_probs,
    weights_digest,
)
from pipeline.precision import pick_device
from pipeline.recompute import recompute_layers
from pipeline.run_directory import RunDirectory

KL_SAMPLES, SHOWN_SAMPLES = 128, 4
LONGER = 1.5  # how much longer than the longest demonstration a sample may get


@dataclass(frozen=True)
class Shown:
    """The demonstrations of both splits as (prompt ids, completion ids)."""

    train: list[PromptCompletion]
    eval: list[PromptCompletion]


def work(run: RunDirectory, config: dict) -> dict:
    """Train, measure on eval prompts, save. Raises Refused where there is nothing to learn from."""
    options: SFTConfig = make_config("sft", config.get("options"))
    start = config["models"]["policy"]
    bits = quantization(options.quantize, pick_device(start.get("device")), options.lora_rank)
    policy = load_policy(start["path"], start.get("device"), quantization=bits)
    limit = min(options.max_length, policy.max_length)
    train, held_out = (read_demonstrations(run.data, policy, limit, split) for split in ("train", "eval"))
    if not len(train):
        raise Refused("There are no demonstrations of train prompts to learn from; import, write or edit some answers.")
    fresh = options.lora_rank > 0 and not has_adapter(policy.model)
    adapted = set_up(policy.model, options.lora_rank, options.lora_alpha, options.lora_dropout, options.seed)
    if options.gradient_checkpointing:
        recompute_layers(policy.model)
    before, known = weights_digest(policy.model), likelihood(policy.model, held_out.sequences)
    run.append_metrics(0, {name: value for name, value in known.items() if value is not None})

    trainer = SupervisedTrainer(run, policy.model, Shown(train.sequences, held_out.sequences), None, _schedule(options))
    trainer.fit(run)
    digest = weights_digest(policy.model)
    if digest == before:
        raise Refused("Training changed no weight of the policy; raise learning_rate or epochs.")
    reference = None if fresh else load_policy(start["path"], start.get("device"), quantization=bits)
    found = _distance(run, policy, reference, held_out if len(held_out) else train, limit, options.seed, trainer)
    save_policy(policy, run.model)
    forget_checkpoints(run)
    return {
        "model": "artifacts/model",
        "role": "policy",
        "weights_digest": digest,
        "metrics": {
            **likelihood(policy.model, held_out.sequences),
            "eval/perplexity_before": known["eval/perplexity"],
            "objective/kl": found.kl,
            "objective/kl_standard_error": found.standard_error,
            "len/mean": found.mean_length,
            "len/eos_rate": found.eos_rate,
        },
        "sizes": {"train_prompts": len(train), "eval_prompts": len(held_out)},
        "notes": [*_notes(train, held_out), *trainer.notes, *adapted],
    }


class SupervisedTrainer(GroupTrainer):
    """The same run around another loss: a batch is a list of demonstrations, the loss a mean over their tokens."""

    def training_step(self, model, inputs, num_items_in_batch=None) -> Tensor:
        """Forward and backward of one optimizer step, so many tokens at a time; the split changes nothing."""
        sequences: Sequence[PromptCompletion] = inputs["groups"]
        tokens = sum(len(completion) for _, completion in sequences)
        model.eval()  # gradients flow all the same; only dropout is off
        adapter_dropout(model, on=True)
        total = torch.zeros((), device=self.args.device)
        for rows in micro_batches([len(p) + len(c) for p, c in sequences], self.schedule.token_budget):
            loss = _surprise(model, [sequences[i] for i in rows]) / tokens
            self.accelerator.backward(loss)
            total += loss.detach()
        if not math.isfinite(float(total)):
            raise Refused(f"The loss is {float(total)} at step {self.state.global_step}; lower the learning rate.")
        return total

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """There are no pairs to tell of."""
        Trainer.log(self, logs, start_time)

    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix="eval") -> dict[str, float | None]:
        """Figures on the held-out demonstrations, also logged."""
        metrics = likelihood(self.model, self.eval_dataset or [])
        if self.eval_dataset:
            self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        self.keep_best(metrics["eval/loss"])
        return metrics


@torch.no_grad()
def likelihood(model: nn.Module, sequences: Sequence[PromptCompletion]) -> dict[str, float | None]:
    """eval/loss in nats per completion token and eval/perplexity, its exponential; None without sequences."""
    if not sequences:
        return {"eval/loss": None, "eval/perplexity": None}
    model.eval()
    loss = float(_surprise(model, sequences)) / sum(len(completion) for _, completion in sequences)
    return {"eval/loss": loss, "eval/perplexity": math.exp(min(loss, 700.0))}


def _surprise(model: nn.Module, sequences: Sequence[PromptCompletion]) -> Tensor:
    """Summed negative log-likelihood of all completion tokens."""
    return -torch.cat(token_log_probs(model, sequences)).sum()


def _schedule(options: SFTConfig) -> Schedule:
    return Schedule(
        options.epochs, options.batch_size, options.learning_rate, options.seed, early_stop=options.early_stop
    )


def _distance(
    run: RunDirectory,
    policy: Policy,
    reference: Policy | None,
    shown: Demonstrations,
    limit: int,
    seed: int,
    trainer: Trainer,
) -> Divergence:
    """KL to the start on the demonstrations' prompts, with samples in the metrics. Raises Refused where not finite."""
    longest = max(len(completion) for _, completion in shown.sequences)
    new_tokens = max(1, min(round(longest * LONGER), limit - 1))
    prompts = [prompt[-(limit - new_tokens) :] for prompt, _ in shown.sequences]
    found = sampled_kl(policy, reference, prompts, new_tokens, seed=seed, count=KL_SAMPLES)
    if not math.isfinite(found.kl):
        raise Refused(f"The KL to the start is {found.kl}; lower learning_rate.")
    step = trainer.state.global_step
    run.append_metrics(step, {"objective/kl": found.kl, "len/mean": found.mean_length, "len/eos_rate": found.eos_rate})
    for i, sampled in list(zip(found.prompts, found.samples, strict=True))[:SHOWN_SAMPLES]:
        run.append_metrics(step, {"sample": sample_text(policy, shown.texts[i][0], sampled.tokens)})
    return found


def _notes(train: Demonstrations, held_out: Demonstrations) -> list[str]:
    notes = []
    if not len(held_out):
        notes.append("No demonstration is on an eval prompt, so the loss on unseen prompts is not known.")
    if cut := train.cut + held_out.cut:
        notes.append(f"{cut} demonstrations were longer than max_length and were cut.")
    return notes


if __name__ == "__main__":
    main(work)
