"""Losses of preferences as pure functions of one number per completion: scores, or summed log-probabilities.

One loss is one function, found by its name in REWARD_LOSSES or POLICY_LOSSES. Each completion is forwarded
once, however many pairs it is in; value and gradient are those of the exploded pairs. Every loss is a
weighted *sum*; divide by the summed weights of the pairs for the mean. A soft preference p stands for a
share p of judges who prefer the first: p loss(margin) + (1 - p) loss(-margin).

Shapes: N completions, P pairs. Nothing here knows models, data or devices; PPO's maths is in `losses.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from pipeline.plackett_luce import consensus, ordered_log_likelihood

ROUNDING = 1e-5  # a difference of scores that rounding alone may make


@dataclass(frozen=True)
class Pairs:
    """P comparisons of completions by index. preferences in [0, 1], 1 = first preferred.

    grades are mean signed graded margins, -3 to 3, positive = first better, 0 = nobody graded.
    """

    indices: Tensor  # [P, 2], first and second
    preferences: Tensor  # [P]
    weights: Tensor  # [P]
    grades: Tensor  # [P]

    def leads(self, scores: Tensor) -> Tensor:
        """score(first) - score(second) of each pair [P], from scores [N]."""
        return scores[self.indices[:, 0]] - scores[self.indices[:, 1]]

    def swapped(self) -> "Pairs":
        """The same facts told from the other side."""
        return replace(self, indices=self.indices.flip(1), preferences=1 - self.preferences, grades=-self.grades)


@dataclass(frozen=True)
class LogProbs:
    """Summed log-probabilities of N completions under policy and reference, and their lengths in tokens.

    reference is None for the losses that need none.
    """

    policy: Tensor  # [N]
    reference: Tensor | None  # [N]
    lengths: Tensor  # [N]

    @property
    def ratios(self) -> Tensor:
        """log pi - log pi_ref of each completion [N]."""
        if self.reference is None:
            raise ValueError("reference: found none, expected log-probabilities for a loss that compares with it")
        return self.policy - self.reference

    @property
    def means(self) -> Tensor:
        """Mean log-probability per token of each completion [N]."""
        return self.policy / self.lengths


@dataclass(frozen=True)
class LossOptions:
    """beta is the tie to the reference (tau of IPO, lambda of ORPO); cdpo and robust take label_smoothing, simpo the
    target_margin.
    """

    beta: float = 0.1
    label_smoothing: float = 0.1
    target_margin: float = 0.5


# ---- pieces
def preference_nll(margins: Tensor, preferences: Tensor) -> Tensor:
    """Negative log-likelihood of soft preferences under Bradley-Terry, one value per pair [P].

    -p log sigma(m) - (1-p) log sigma(-m); at m = 0 it is log 2 whatever p.
    """
    return -(preferences * logsigmoid(margins) + (1 - preferences) * logsigmoid(-margins))


def centering(scores: Tensor) -> Tensor:
    """Summed squared scores: the regulariser that keeps rewards near 0 (Eisenstein et al. 2023, section 3.3)."""
    return scores.square().sum()


def pair_accuracy(scores: Tensor, pairs: Pairs) -> tuple[Tensor, Tensor]:
    """Summed weight of the pairs in the preferred order, and of all pairs that have one.

    Pairs with preference 0.5 are left out; a pair with equal scores, up to rounding, counts half: at the start of DPO
    all are, and which way they are rounded depends on how they were batched.
    """
    sides, leads = torch.sign(pairs.preferences - 0.5), pairs.leads(scores)
    right = (1 + torch.sign(leads * (leads.abs() > ROUNDING)) * sides) / 2
    decided = pairs.weights * (sides != 0)
    return (decided * right).sum(), decided.sum()


def _both_ways(loss: Callable[[Tensor], Tensor], margins: Tensor, pairs: Pairs) -> Tensor:
    """Weighted sum of a pairwise loss, each pair told from both sides by its preference."""
    told = pairs.preferences * loss(margins) + (1 - pairs.preferences) * loss(-margins)
    return (pairs.weights * told).sum()


# ---- reward models: scores [N]
def bradley_terry(scores: Tensor, pairs: Pairs, margin_scale: float = 0.0) -> Tensor:
    """Bradley-Terry over every pair (Ouyang et al. 2022, eq. 1): log 2 per weight at equal scores.

    margin_scale asks the better one for a lead of margin_scale times the grade (Touvron et al. 2023, eq. 2).
    """
    margins = pairs.leads(scores) - margin_scale * pairs.grades
    return (pairs.weights * preference_nll(margins, pairs.preferences)).sum()


def plackett_luce(scores: Tensor, pairs: Pairs, margin_scale: float = 0.0) -> Tensor:
    """Plackett-Luce over the consensus order of each connected set of completions; log K! per weight at equal scores.

    A share `agreement` of the weight follows the consensus and the rest its reverse, so that K = 2 is
    Bradley-Terry, soft preferences included; ties are averaged over the orders they leave open (see
    `plackett_luce.py`). Grades are of pairs, so margin_scale has no meaning here.
    """
    total = scores.sum() * 0.0
    for order in consensus(pairs.indices.tolist(), pairs.preferences.tolist(), pairs.weights.tolist()):
        along = ordered_log_likelihood(scores, order.tiers)
        if order.agreement < 1:
            against = ordered_log_likelihood(scores, order.tiers[::-1])
            along = order.agreement * along + (1 - order.agreement) * against
        total = total - order.weight * along
    return total


# ---- policies: log-probabilities [N]
def dpo(found: LogProbs, pairs: Pairs, options: LossOptions) -> Tensor:
    """Rafailov et al. 2023, eq. 7: log 2 at the reference."""
    return bradley_terry(options.beta * found.ratios, pairs)


def ipo(found: LogProbs, pairs: Pairs, options: LossOptions) -> Tensor:
    """Azar et al. 2023, eq. 17, over log-ratios per token: (1/2 beta)^2 at the reference, least at a lead of 1/2 beta.

    Dividing by the completion's length first is how the authors' results were made, and TRL's convention.
    """
    goal = 1 / (2 * options.beta)
    return _both_ways(lambda lead: (lead - goal).square(), pairs.leads(found.ratios / found.lengths), pairs)


def cdpo(found: LogProbs, pairs: Pairs, options: LossOptions) -> Tensor:
    """Conservative DPO (Mitchell 2023): a share label_smoothing of comparisons is taken to be wrong."""
    wrong = options.label_smoothing
    believed = replace(pairs, preferences=pairs.preferences * (1 - wrong) + (1 - pairs.preferences) * wrong)
    return dpo(found, believed, options)


def robust(found: LogProbs, pairs: Pairs, options: LossOptions) -> Tensor:
    """Robust DPO (Chowdhury et al. 2024, eq. 12): unbiased where that share is wrong; log 2 at the start."""
    wrong = options.label_smoothing
    unbiased = (pairs.preferences - wrong) / (1 - 2 * wrong)  # leaves [0, 1] on purpose
    return dpo(found, replace(pairs, preferences=unbiased), options)


def hinge(found: LogProbs, pairs: Pairs, options: LossOptions) -> Tensor:
    """SLiC's hinge on DPO's margin (Zhao et al. 2023; Liu et al. 2023): 1 at the reference."""
    margins = options.beta * pairs.leads(found.ratios)
    return _both_ways(lambda lead: torch.relu(1 - lead), margins, pairs)


def simpo(found: LogProbs, pairs: Pairs, options: LossOptions) -> Tensor:
    """SimPO (Meng et al. 2024, eq. 6): beta times mean log-probabilities, a target margin, no reference."""
    margins = options.beta * pairs.leads(found.means)
    return _both_ways(lambda lead: -logsigmoid(lead - options.target_margin), margins, pairs)


def orpo(found: LogProbs, pairs: Pairs, options: LossOptions) -> Tensor:
    """ORPO (Hong et al. 2024, eq. 6 and 7): mean nll of the better one plus beta times the log-odds loss."""
    means = found.means
    odds = means - torch.log(-torch.expm1(means.clamp(max=-1e-7)))
    likelihood = pairs.preferences * means[pairs.indices[:, 0]] + (1 - pairs.preferences) * means[pairs.indices[:, 1]]
    return (pairs.weights * (options.beta * preference_nll(pairs.leads(odds), pairs.preferences) - likelihood)).sum()


def plackett_luce_dpo(found: LogProbs, pairs: Pairs, options: LossOptions) -> Tensor:
    """DPO over whole rankings (Rafailov et al. 2023, appendix A.3): log K! per weight at the reference."""
    return plackett_luce(options.beta * found.ratios, pairs)


def implicit_rewards(found: LogProbs, beta: float) -> Tensor:
    """beta (log pi - log pi_ref) of each completion [N] (Rafailov et al. 2023, eq. 5); beta mean log pi without one."""
    return beta * (found.means if found.reference is None else found.ratios)


REWARD_LOSSES: dict[str, Callable[[Tensor, Pairs, float], Tensor]] = {
    "bradley-terry": bradley_terry,
    "plackett-luce": plackett_luce,
}
POLICY_LOSSES: dict[str, Callable[[LogProbs, Pairs, LossOptions], Tensor]] = {
    "dpo": dpo,
    "ipo": ipo,
    "cdpo": cdpo,
    "robust": robust,
    "hinge": hinge,
    "simpo": simpo,
    "orpo": orpo,
    "plackett-luce": plackett_luce_dpo,
}
WITHOUT_REFERENCE = frozenset({"simpo", "orpo"})
