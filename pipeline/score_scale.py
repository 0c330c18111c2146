"""What a reward model's scores are measured in before they become rewards. Pure numbers, no model.

reference       in deviations from the mean over the reference samples that the reward model was saved with
demonstrations  in the same deviations, from the mean score of people's own answers, which is 0 then
                (Huang et al. 2024, detail 12)
running         in deviations from the mean of all scores so far
none            as the reward model gives them
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

LEAST = 1e-6  # a deviation below this is taken as 1


@dataclass(frozen=True)
class ScoreScale:
    """A mean and a deviation, and for `running` what they come from; a bound of 0 is none."""

    kind: str
    mean: float = 0.0
    std: float = 1.0
    bound: float = 0.0
    count: int = 0
    squares: float = 0.0  # sum of squared distances from the mean

    def taking(self, raw: Tensor) -> "ScoreScale":
        """The scale once these scores [N] are known too; only a running one changes (Chan et al. 1979)."""
        if self.kind != "running" or not len(raw):
            return self
        raw = raw.double()
        mean, count = float(raw.mean()), self.count + len(raw)
        squares = float((raw - mean).square().sum()) + (mean - self.mean) ** 2 * self.count * len(raw) / count
        together = self.mean + (mean - self.mean) * len(raw) / count
        std = ((self.squares + squares) / count) ** 0.5
        return replace(
            self, mean=together, std=std if std > LEAST else 1.0, count=count, squares=self.squares + squares
        )

    def __call__(self, raw: Tensor) -> Tensor:
        """Scores [N] on this scale, within its bound."""
        scaled = (raw.double() - self.mean) / self.std
        bound = self.bound or torch.inf
        return scaled.clamp(-bound, bound).float()
