"""What is measured on groups of compared completions: accuracy, likelihood, loss, and sentences about the data.

An objective turns a model and some groups into scores and a loss; the trainer and the evaluation use the same
one. It trains nothing and writes nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from pipeline.groups import Group, GroupData, group_batches, sequences_of
from pipeline.packing import PromptCompletion, shares_prompts
from pipeline.preference_losses import Pairs, bradley_terry, centering, pair_accuracy

IDLE: list[PromptCompletion] = [([0], [0])]  # the least that can be forwarded


@dataclass(frozen=True)
class Outcome:
    """One score per completion [N], in the groups' order; the pairs; the loss summed over them by weight."""

    scores: Tensor
    pairs: Pairs
    loss: Tensor


@dataclass(frozen=True)
class Objective:
    """From model and groups to scores and a loss, by way of one number for each completion [N].

    numbers makes these of token ids, forwards tells how often it runs the model's body for them: processes that hold
    a model in shards have to know, since all must run it equally often.
    """

    numbers: Callable[[nn.Module, Sequence[PromptCompletion]], Tensor]
    outcome: Callable[[Tensor, Sequence[Group]], Outcome]
    forwards: Callable[[nn.Module, Sequence[PromptCompletion]], int]

    def __call__(self, model: nn.Module, groups: Sequence[Group]) -> Outcome:
        """Scores, pairs and loss of whole groups."""
        return self.outcome(self.numbers(model, sequences_of(groups)), groups)

    def count(self, model: nn.Module, groups: Sequence[Group]) -> int:
        """How many forwards of the model's body these groups take."""
        return self.forwards(model, sequences_of(groups))

    def idle(self, model: nn.Module) -> Tensor:
        """A loss of 0 by one forward, whose gradient is 0 for every weight."""
        return 0 * self.numbers(model, IDLE).sum()


class PairTally:
    """Sums over pairs that accuracy, margin and likelihood are made from; on a GPU they wait there until asked for."""

    def __init__(self) -> None:
        self.sums: Tensor | None = None  # right, decided, margins, nll, loss, weight, squares
        self.completions = 0

    def add(self, outcome: Outcome) -> None:
        """Take in one batch."""
        scores, pairs = outcome.scores.detach(), outcome.pairs
        leads = pairs.leads(scores) * torch.sign(pairs.preferences - 0.5)
        margins, nll = (pairs.weights * leads).sum(), bradley_terry(scores, pairs)
        facts = (*pair_accuracy(scores, pairs), margins, nll, outcome.loss.detach(), pairs.weights.sum())
        self.take(torch.stack([fact.double() for fact in (*facts, centering(scores))]), len(scores))

    def take(self, sums: Tensor | None, completions: int) -> None:
        """Take in the sums [7] of so many completions; None where there were none."""
        if sums is not None:
            self.sums = sums if self.sums is None else self.sums + sums.to(self.sums.device)
        self.completions += completions

    @property
    def accuracy(self) -> float | None:
        """Weighted share of the decided pairs in the preferred order; None where every pair ties."""
        right, decided, *_ = self._figures()
        return right / decided if decided else None

    @property
    def margin(self) -> float | None:
        """Weighted mean lead of the preferred side over decided pairs; None where every pair ties."""
        _, decided, margins, *_ = self._figures()
        return margins / decided if decided else None

    @property
    def nll(self) -> float:
        """Weighted mean negative log-likelihood of the preferences by the scores."""
        *_, nll, _, weight, _ = self._figures()
        return nll / weight

    def loss(self, centred: float) -> float:
        """Weighted mean loss, and so much of the mean squared score."""
        *_, loss, weight, squares = self._figures()
        return loss / weight + centred * squares / self.completions

    def _figures(self) -> list[float]:
        return [0.0] * 7 if self.sums is None else self.sums.tolist()


@dataclass(frozen=True)
class HeldOut:
    """Figures on held-out groups, and the score of every completion by the group's place [K]."""

    metrics: dict[str, float | None]
    scores: list[list[float]] = field(default_factory=list)


@torch.no_grad()
def evaluate_groups(
    model: nn.Module, groups: Sequence[Group], objective: Objective, token_budget: int, centred: float = 0.0
) -> HeldOut:
    """eval/accuracy over decided pairs, eval/nll of the preferences by the scores, eval/loss as trained, eval/margin.

    centred is the weight of the mean squared score in the loss; all figures are None without groups.
    """
    names = ("eval/accuracy", "eval/loss", "eval/nll", "eval/margin")
    if not groups:
        return HeldOut(dict.fromkeys(names))
    model.eval()
    tally = PairTally()
    scores: dict[int, list[float]] = {}
    for part in group_batches(groups, token_budget, shares_prompts(model)):
        outcome = objective(model, part)
        tally.add(outcome)
        split = outcome.scores.split([len(g.completions) for g in part])
        scores |= {id(group): own.tolist() for group, own in zip(part, split, strict=True)}
    metrics = dict(zip(names, (tally.accuracy, tally.loss(centred), tally.nll, tally.margin), strict=True))
    return HeldOut(metrics, [scores[id(group)] for group in groups])


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
