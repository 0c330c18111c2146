"""Train on groups of compared completions with `transformers.Trainer`: what reward models and DPO share.

The caller gives one function from (model, groups) to one score per completion: the reward itself, or
DPO's implicit reward. This module makes the Bradley-Terry loss of all pairs from it, steps, evaluates on
held-out groups, and ties the trainer to the run directory: metrics, status, cancel, checkpoint, resume.
The model's own dropout stays off, so a completion has one score; a reward model may be trained with
dropout on its input embeddings. It saves no final model and judges no result.
"""

import json
import math
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from pipeline.configs import DPOConfig, RewardConfig
from pipeline.groups import Group, GroupData, collate, group_batches, total_weight
from pipeline.job import Cancelled, Progress, Refused
from pipeline.losses import bradley_terry, pair_accuracy
from pipeline.run_directory import RunDirectory

Score = Callable[[nn.Module, Sequence[Group]], Tensor]

TOKEN_BUDGET = 4096  # padded tokens of one forward and backward; whole groups, so one group may be larger
MOST_PASSES = 8  # over few groups
SAVE_SECONDS = 300.0  # between checkpoints within an epoch; every epoch ends with one


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train: passes, prompts per optimizer step, AdamW's peak rate, seed.

    centering weighs the mean squared score; input_dropout is the share of each input embedding that is
    dropped while training.
    """

    epochs: float
    groups_per_step: int
    learning_rate: float
    seed: int
    centering: float = 0.0
    input_dropout: float = 0.0
    weight_decay: float = 0.0
    token_budget: int = TOKEN_BUDGET


class GroupTrainer(Trainer):
    """A Trainer whose batch is a list of groups and whose loss is the weighted mean over their pairs."""

    def __init__(self, run: RunDirectory, model: nn.Module, data: GroupData, score: Score, schedule: Schedule):
        self.score, self.schedule, self.following = score, schedule, FollowRun(run)
        self.window = PairTally()  # pairs since the last log
        super().__init__(
            model=model,
            args=_arguments(run, schedule, evaluate=bool(data.eval)),
            train_dataset=data.train,
            eval_dataset=data.eval or None,
            data_collator=lambda groups: {"groups": groups},
            callbacks=[self.following],
        )
        self.remove_callback(PrinterCallback)
        if not any(p.requires_grad for p in model.parameters()):
            raise Refused("The model has no weight that may be trained; check how its adapter was loaded.")

    def fit(self, run: RunDirectory) -> None:
        """Train to the end, from the last whole checkpoint if there is one. Raises Cancelled after saving one."""
        self.train(resume_from_checkpoint=last_checkpoint(run))
        if self.following.cancelled:
            raise Cancelled(f"Cancelled at step {self.state.global_step} of {self.state.max_steps}, checkpoint saved.")

    def training_step(self, model, inputs, num_items_in_batch=None) -> Tensor:
        """Forward and backward of one optimizer step, whole groups at a time under the token budget.

        Each part is divided by the step's whole weight, so the split changes nothing.
        """
        groups = inputs["groups"]
        weight, completions = total_weight(groups), sum(len(g.completions) for g in groups)
        model.eval()  # gradients flow all the same; only dropout is off
        total = 0.0
        with input_dropout(self.model, self.schedule.input_dropout):
            for part in group_batches(groups, self.schedule.token_budget):
                loss = self._part_loss(model, part, weight, completions)
                self.accelerator.backward(loss)
                total = total + loss.detach()
        if not math.isfinite(float(total)):
            raise Refused(f"The loss is {float(total)} at step {self.state.global_step}; lower the learning rate.")
        return total

    def _part_loss(self, model, groups: Sequence[Group], weight: float, completions: int) -> Tensor:
        scores = self.score(model, groups)
        batch = collate(groups, scores.device)
        self.window.add(scores.detach(), batch)
        loss = bradley_terry(scores, batch.pairs, batch.preferences, batch.weights) / weight
        return loss + self.schedule.centering * scores.square().sum() / completions

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the pair figures of the steps since the last log."""
        if "loss" in logs:
            logs |= {"rewards/accuracies": self.window.accuracy, "rewards/margins": self.window.margin}
            self.window = PairTally()
        super().log(logs, start_time)

    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix="eval") -> dict[str, float | None]:
        """Figures on the held-out groups, also logged; all null where there are none."""
        groups = self.eval_dataset if eval_dataset is None else eval_dataset
        metrics = evaluate_groups(self.model, groups or [], self.score, self.schedule)
        if groups:
            self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def floating_point_ops(self, inputs) -> int:
        """Not counted."""
        return 0


@contextmanager
def input_dropout(model: nn.Module, share: float) -> Iterator[None]:
    """Drop a share of every input embedding meanwhile, whatever the architecture; 0 changes nothing."""
    if not share:
        yield
        return
    hook = model.get_input_embeddings().register_forward_hook(lambda _, __, out: dropout(out, share))
    try:
        yield
    finally:
        hook.remove()


@dataclass
class PairTally:
    """Sums over pairs that accuracy, margin and likelihood are made from."""

    right: float = 0.0
    decided: float = 0.0
    margins: float = 0.0
    nll: float = 0.0
    weight: float = 0.0
    squares: float = 0.0
    completions: int = 0

    def add(self, scores: Tensor, batch) -> None:
        """Take in one batch's scores [N]."""
        pairs, preferences, weights = batch.pairs, batch.preferences, batch.weights
        right, decided = pair_accuracy(scores, pairs, preferences, weights)
        margins = (scores[pairs[:, 0]] - scores[pairs[:, 1]]) * torch.sign(preferences - 0.5)
        self.right, self.decided = self.right + right, self.decided + decided
        self.margins += float((weights * margins).sum())
        self.nll += float(bradley_terry(scores, pairs, preferences, weights))
        self.weight += float(weights.sum())
        self.squares, self.completions = self.squares + float(scores.square().sum()), self.completions + len(scores)

    @property
    def accuracy(self) -> float | None:
        """Weighted share of the decided pairs in the preferred order; None where every pair ties."""
        return self.right / self.decided if self.decided else None

    @property
    def margin(self) -> float | None:
        """Weighted mean lead of the preferred side over decided pairs; None where every pair ties."""
        return self.margins / self.decided if self.decided else None


@torch.no_grad()
def evaluate_groups(
    model: nn.Module, groups: Sequence[Group], score: Score, schedule: Schedule
) -> dict[str, float | None]:
    """eval/accuracy over decided pairs, eval/nll of the preferences, eval/loss as trained, eval/margin."""
    names = ("eval/accuracy", "eval/loss", "eval/nll", "eval/margin")
    if not groups:
        return dict.fromkeys(names)
    model.eval()
    tally = PairTally()
    for part in group_batches(groups, schedule.token_budget):
        scores = score(model, part)
        tally.add(scores, collate(part, scores.device))
    nll = tally.nll / tally.weight
    loss = nll + schedule.centering * tally.squares / tally.completions
    return dict(zip(names, (tally.accuracy, loss, nll, tally.margin), strict=True))


def passes(groups: int, options: RewardConfig | DPOConfig, enough: int) -> float:
    """Passes to take over few groups: more than the default, to make `enough` optimizer steps, at most MOST_PASSES.

    Another number of epochs than the default is somebody's choice and stands.
    """
    if options.epochs != type(options)().epochs:
        return options.epochs
    steps = math.ceil(groups / options.groups_per_step)
    return max(options.epochs, min(math.ceil(enough / steps), MOST_PASSES))


def pass_notes(epochs: float, options: RewardConfig | DPOConfig) -> list[str]:
    """A sentence where more passes were taken than asked for."""
    few = f"There are few comparisons: {epochs} passes over them were taken instead of {options.epochs:g}."
    return [few] if epochs != options.epochs else []


def notes_on(data: GroupData) -> list[str]:
    """What a reader of the figures has to know about the data, as sentences."""
    notes = []
    pairs = [pair for group in data.eval for pair in group.pairs]
    if not pairs:
        notes.append("No comparison is on an eval prompt, so accuracy on unseen prompts is not known.")
    elif all(pair.preference == 0.5 for pair in pairs):
        notes.append("All comparisons on eval prompts are ties, so accuracy on unseen prompts is not known.")
    elif len(data.eval) < 10:
        notes.append(f"Accuracy on unseen prompts comes from {len(data.eval)} prompts only.")
    if data.truncated:
        notes.append(f"{data.truncated} completions were longer than max_length and were cut.")
    return notes


# ---- the run directory


class FollowRun(TrainerCallback):
    """Writes metrics and status, saves every few minutes, and ends the training when asked to cancel."""

    def __init__(self, run: RunDirectory):
        self.run, self.progress, self.cancelled, self.saved = run, Progress(run), False, time.monotonic()

    def on_train_begin(self, args, state, control, **_):
        """Know how many steps there will be."""
        self.progress.total = state.max_steps

    def on_step_end(self, args, state, control, **_):
        """Report; ask the trainer to save on cancel and when the last checkpoint is old."""
        self.progress.step(state.global_step)
        if self.progress.cancelled and state.global_step < state.max_steps:
            self.cancelled = control.should_save = control.should_training_stop = True
        elif time.monotonic() - self.saved > SAVE_SECONDS:
            control.should_save = True

    def on_save(self, args, state, control, **_):
        """Remember when."""
        self.saved = time.monotonic()

    def on_log(self, args, state, control, logs=None, **_):
        """Pass the trainer's figures on, without its timings at the end."""
        if logs and "train_runtime" not in logs:
            self.run.append_metrics(state.global_step, logs)


def last_checkpoint(run: RunDirectory) -> str | None:
    """The newest checkpoint that was written to its end: trainer_state.json comes last."""
    whole = [path for path in run.checkpoints.glob("checkpoint-*") if _is_whole(path)]
    return str(max(whole, key=lambda path: int(path.name.rsplit("-", 1)[1]))) if whole else None


def forget_checkpoints(run: RunDirectory) -> None:
    """Free the disk once the model itself is saved."""
    for path in run.checkpoints.glob("*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _is_whole(path: Path) -> bool:
    try:
        return "global_step" in json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        return False


def _arguments(run: RunDirectory, schedule: Schedule, evaluate: bool) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(run.checkpoints),
        per_device_train_batch_size=schedule.groups_per_step,
        num_train_epochs=schedule.epochs,
        learning_rate=schedule.learning_rate,
        lr_scheduler_type="linear",
        weight_decay=schedule.weight_decay,
        max_grad_norm=1.0,
        seed=schedule.seed,
        data_seed=schedule.seed,
        eval_strategy="epoch" if evaluate else "no",
        save_strategy="epoch",
        save_total_limit=1,
        logging_steps=1,
        logging_nan_inf_filter=False,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        disable_tqdm=True,
        report_to=[],
    )
