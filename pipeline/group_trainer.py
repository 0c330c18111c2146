"""Train on groups of compared completions with `transformers.Trainer`: what reward models and DPO share.

The caller gives one objective: from a model and groups to scores and a loss. This module steps, evaluates on
held-out groups, stops early and keeps the best pass where that is asked for, and ties the trainer to the run
directory: metrics, status, cancel, checkpoint, resume. Checkpoints hold what is trained and nothing else.
Several processes share the groups of each step and add up their gradients, so they train as one does, each with
a whole model or all with one in shards (`sharding.py`).
The model's own dropout stays off, so a completion has one score; a reward model may be trained with dropout on
its input embeddings, an adapter with its own. It saves no final model and judges no result.
"""

import json
import math
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TypeVar

import torch
from accelerate.data_loader import BatchSamplerShard
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import dropout
from torch.utils.data import DataLoader
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer import OPTIMIZER_NAME, SCHEDULER_NAME

from pipeline.adapters import adapter_dropout
from pipeline.group_figures import Objective, Outcome, PairTally, evaluate_groups
from pipeline.groups import Group, GroupData, group_batches, total_weight
from pipeline.job import Cancelled, Progress, Refused
from pipeline.packing import shares_prompts
from pipeline.preference_losses import centering
from pipeline.processes import ALONE, Processes, join
from pipeline.resources import in_shards, resources_of
from pipeline.run_directory import RunDirectory
from pipeline.sharding import Shards, divided_state, whole, whole_state
from pipeline.trained_weights import BestPass, put_back, trained_weights

TOKEN_BUDGET = 4096  # tokens of one forward and backward, about; whole groups, so one group may be larger
SAVE_SECONDS = 300.0  # between checkpoints within an epoch; every epoch ends with one
PATIENCE = 2  # passes in a row that are no better; one alone is often noise that the falling rate makes good
ENOUGH_HELD_OUT = 10  # groups; a loss over fewer says too little to stop by
TRAINED = "trained.safetensors"

Made = TypeVar("Made")


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train: passes, prompts per optimizer step, AdamW's peak rate, seed.

    centering weighs the mean squared score; input_dropout is the share of each input embedding that is
    dropped while training; early_stop keeps the pass with the lowest held-out loss, and ends after
    PATIENCE passes in a row that were no better.
    """

    epochs: float
    groups_per_step: int
    learning_rate: float
    seed: int
    centering: float = 0.0
    input_dropout: float = 0.0
    weight_decay: float = 0.0
    token_budget: int = TOKEN_BUDGET
    early_stop: bool = False


class GroupTrainer(Trainer):
    """A Trainer whose batch is a list of groups and whose loss is the weighted mean over their pairs."""

    def __init__(self, run: RunDirectory, model: nn.Module, data: GroupData, objective: Objective, schedule: Schedule):
        if not any(p.requires_grad for p in model.parameters()):
            raise Refused("The model has no weight that may be trained; check how its adapter was loaded.")
        self.objective, self.schedule, self.processes = objective, schedule, join()
        self.shards: Shards | None = None
        self.following = FollowRun(run, self.processes)
        self.window = PairTally()  # pairs since the last log
        self.together = shares_prompts(model)
        self.notes: list[str] = []  # what a reader of the result has to know
        self.best = BestPass(run.checkpoints) if schedule.early_stop and len(data.eval) >= ENOUGH_HELD_OUT else None
        super().__init__(
            model=model,
            args=_arguments(run, schedule, evaluate=bool(data.eval)),
            train_dataset=data.train,
            eval_dataset=data.eval or None,
            data_collator=lambda groups: {"groups": groups},
            callbacks=[self.following],
        )
        self.remove_callback(PrinterCallback)
        if self.processes.size > 1 and in_shards(resources_of(run.config())):
            self._divide()

    def _divide(self) -> None:
        """From here on the model is in shards, and the Trainer wraps nothing around it."""
        self.shards = Shards(self.model, self.processes)
        self.model = self.model_wrapped = self.shards.model
        self.is_distributed_loading_by_transformers = True

    def _unite(self) -> None:
        """The model that was given is whole again in the first process; what training added is let go in all."""
        if self.shards:
            self.model = self.model_wrapped = self.shards.restore()
            self.shards = self.optimizer = self.lr_scheduler = None
            vars(self.callback_handler).update(model=self.model, optimizer=None, lr_scheduler=None)
            self.accelerator.free_memory()

    def get_train_dataloader(self) -> DataLoader:
        """Every process gets the whole step's groups and takes its share: only the whole tells how to weigh them."""
        loader = super().get_train_dataloader()
        shard = loader.batch_sampler
        if isinstance(shard, BatchSamplerShard):
            shard.num_processes, shard.process_index, shard.even_batches = 1, 0, False
        return loader

    def fit(self, run: RunDirectory) -> None:
        """Train to the end, from the last whole checkpoint if there is one; then the best pass is the model's.

        Raises Cancelled after saving a checkpoint.
        """
        self.train(resume_from_checkpoint=last_checkpoint(run))
        if self.following.cancelled:
            raise Cancelled(f"Cancelled at step {self.state.global_step} of {self.state.max_steps}, checkpoint saved.")
        self.processes.wait()  # the first one has written the best pass
        self._unite()
        if self.best and self.best.step < self.state.global_step:
            if self.processes.first:  # which alone goes on with the model
                self.best.restore(self.model)
            of = f"{self.best.step} of {self.state.max_steps}"
            self.notes.append(f"The held-out loss rose: the weights kept are those of step {of}.")

    def training_step(self, model, inputs, num_items_in_batch=None) -> Tensor:
        """Forward and backward of one optimizer step, whole groups at a time under the token budget.

        Each part is divided by the step's whole weight, so the split changes nothing, nor that among processes.
        """
        groups, model = inputs["groups"], self.model
        weight, completions = total_weight(groups), sum(len(g.completions) for g in groups)
        model.eval()  # gradients flow all the same; only dropout is off
        adapter_dropout(model, on=True)
        total = torch.zeros((), device=self.args.device)
        with input_dropout(model, self.schedule.input_dropout):
            for part, idle in self._parts(self.processes.share(groups)):
                loss = self._with_weights(self._part_loss, part, idle, weight, completions)
                self.accelerator.backward(loss)
                total = total + loss.detach()
        if not self.shards:  # which add up their gradients themselves
            self.processes.sum_gradients([p for p in model.parameters() if p.requires_grad])
        total = self.processes.summed(total)
        if not math.isfinite(float(total)):
            raise Refused(f"The loss is {float(total)} at step {self.state.global_step}; lower the learning rate.")
        return total

    def _parts(self, mine: Sequence[Group]) -> Iterator[tuple[list[Group], int]]:
        """This process's groups in parts, each with the idle forwards that keep it in step with the others' shards."""
        parts = group_batches(mine, self.schedule.token_budget, self.together)
        if not self.shards:
            return ((part, 0) for part in parts)
        counts = [self.objective.count(self.model, part) for part in parts]
        most = self.processes.most(counts)
        behind = (there - own for own, there in zip_longest(counts, most, fillvalue=0))
        return zip_longest(parts, behind, fillvalue=[])

    def _with_weights(self, work: Callable[..., Made], *details: object) -> Made:
        """What is made of the model and these, with its weights gathered where they are in shards."""
        if not self.shards:
            return work(self.model, *details)
        return self.shards(lambda model: work(model, *details))

    def _part_loss(self, model, groups: Sequence[Group], idle: int, weight: float, completions: int) -> Tensor:
        idling = [self.objective.idle(model) for _ in range(idle)]
        if not groups:
            return sum(idling)
        outcome = self.objective(model, groups)
        self.window.add(outcome)
        loss = outcome.loss / weight + self.schedule.centering * centering(outcome.scores) / completions
        return sum(idling, loss)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the pair figures of the steps since the last log."""
        if "loss" in logs:
            window = in_all(self.window, self.processes)
            logs |= {"rewards/accuracies": window.accuracy, "rewards/margins": window.margin}
            self.window = PairTally()
        super().log(logs, start_time)

    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix="eval") -> dict[str, float | None]:
        """Figures on the held-out groups, also logged; all null where there are none."""
        groups = self.eval_dataset if eval_dataset is None else eval_dataset
        budget, centred = self.schedule.token_budget, self.schedule.centering
        metrics = evaluate_groups(self.model, groups or [], self._measured, budget, centred).metrics
        if self.shards:
            self.shards.reshard()
        if groups:
            self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        self.keep_best(metrics["eval/loss"])
        return metrics

    def _measured(self, _model: nn.Module, groups: Sequence[Group]) -> Outcome:
        """The objective; all processes measure all groups, so shards are gathered equally often."""
        return self._with_weights(self.objective, groups)

    def keep_best(self, held_out_loss: float) -> None:
        """Keep this pass if none was better; end the training after PATIENCE that were not."""
        if self.best:
            worse = self.best.take(self.model, held_out_loss, self.state.global_step, self.processes)
            if self.processes.agreed(worse >= PATIENCE):
                self.control.should_training_stop = True

    def _save_checkpoint(self, model, trial) -> None:
        """One that cannot be written to its end is taken away again: what fills the disk is of no use."""
        try:
            super()._save_checkpoint(model, trial)
        except Exception:
            shutil.rmtree(Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}", ignore_errors=True)
            raise

    def _save(self, output_dir: str | None = None, state_dict=None) -> None:
        """What is trained, for a checkpoint: an adapter's base or a frozen layer is not copied."""
        weights = trained_weights(self.model, self.processes.first)
        if self.processes.first:
            folder = Path(output_dir or self.args.output_dir)
            folder.mkdir(parents=True, exist_ok=True)
            save_file(weights, folder / TRAINED)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        """Whole also where the state is in shards, so that any number of processes may go on from it."""
        state = whole_state(self.optimizer.state_dict(), self.processes.first)
        if self.processes.first:
            torch.save(state, Path(output_dir) / OPTIMIZER_NAME)
            torch.save(self.lr_scheduler.state_dict(), Path(output_dir) / SCHEDULER_NAME)
        self.processes.wait()  # what comes next says that all of it is there

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        optimizer, scheduler = (
            torch.load(Path(checkpoint) / name, map_location="cpu", weights_only=True)
            for name in (OPTIMIZER_NAME, SCHEDULER_NAME)
        )
        self.optimizer.load_state_dict(divided_state(optimizer, self.optimizer))
        self.lr_scheduler.load_state_dict(scheduler)

    def _save_rng_state(self, output_dir: str) -> None:
        """Without a GPU the Trainer takes each of several processes for the only one, with a file of the same name."""
        if self.processes.first or self.args.world_size > 1:
            super()._save_rng_state(output_dir)

    def _clip_grad_norm(self, model) -> Tensor:
        """The norm before clipping, of all shards together."""
        return whole(super()._clip_grad_norm(model))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model=None) -> None:
        """Put them back."""
        put_back(model or self.model, load_file(Path(resume_from_checkpoint) / TRAINED))

    def floating_point_ops(self, inputs) -> int:
        """Not counted."""
        return 0


def in_all(tally: PairTally, processes: Processes) -> PairTally:
    """The sums of every process together."""
    total = PairTally()
    for sums, completions in processes.gathered([(tally.sums, tally.completions)]):
        total.take(sums, completions)
    return total


@contextmanager
def input_dropout(model: nn.Module, share: float) -> Iterator[None]:
    """Drop a share of every input embedding meanwhile, whatever the architecture; 0 changes nothing."""
    if not share:
        yield
        return

    def drop(_module: nn.Module, _inputs: tuple, out: Tensor) -> Tensor:
        return dropout(out, share) if torch.is_grad_enabled() else out

    hook = model.get_input_embeddings().register_forward_hook(drop)
    try:
        yield
    finally:
        hook.remove()


# ---- the run directory


class FollowRun(TrainerCallback):
    """Writes metrics and status, saves every few minutes, and ends the training when asked to cancel."""

    def __init__(self, run: RunDirectory, processes: Processes = ALONE):
        self.run, self.progress, self.cancelled, self.saved = run, Progress(run), False, time.monotonic()
        self.processes = processes

    def on_train_begin(self, args, state, control, **_):
        """Know how many steps there will be."""
        self.progress.total = state.max_steps

    def on_step_end(self, args, state, control, **_):
        """Report; ask the trainer to save on cancel and when the last checkpoint is old."""
        self.progress.step(state.global_step)
        if self.processes.agreed(self.progress.cancelled) and state.global_step < state.max_steps:
            self.cancelled = control.should_save = control.should_training_stop = True
        elif self.processes.agreed(time.monotonic() - self.saved > SAVE_SECONDS):
            control.should_save = True

    def on_save(self, args, state, control, **_):
        """Remember when, and let the older checkpoints go. By step: a clock may have jumped back in between."""
        self.saved = time.monotonic()
        for path in self.run.checkpoints.glob("checkpoint-*") if self.processes.first else ():
            if path.name != f"checkpoint-{state.global_step}":
                shutil.rmtree(path, ignore_errors=True)

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
    arguments = TrainingArguments(
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
        logging_steps=1,
        logging_nan_inf_filter=False,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        disable_tqdm=True,
        report_to=[],
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)  # one process uses one GPU, however many it sees
    return arguments
