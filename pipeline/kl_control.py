"""The KL coefficient of PPO, fixed or adaptive (Ziegler et al. 2019, section 2.2). Numbers in, a number out."""

from dataclasses import dataclass

from pipeline.configs import PPOConfig
from pipeline.losses import adapted_kl_coefficient

ROLLOUTS = 2  # the horizon unless told: a rollout changes the coefficient by at most a tenth
FLOOR = 0.5  # of the start; at 0.25 the demo overshot a target of 5 to 9, by mere rounding past 10


@dataclass
class KLController:
    """Moves the coefficient towards the target, never below half of its start.

    Every run begins far under the target, and a coefficient lowered without bound on the way there lets the
    policy shoot past it. A target of 0 keeps the coefficient.
    """

    coefficient: float
    start: float
    target: float
    horizon: float  # episodes

    @classmethod
    def of(cls, options: PPOConfig) -> "KLController":
        """As a run begins."""
        horizon = options.kl_horizon or ROLLOUTS * options.batch_size
        return cls(options.kl_coefficient, options.kl_coefficient, options.kl_target, horizon)

    def follow(self, kl: float, episodes: int) -> None:
        """Take in a rollout of so many completions with this KL in nats per completion."""
        found = adapted_kl_coefficient(self.coefficient, kl, self.target, episodes, self.horizon)
        self.coefficient = max(found, FLOOR * self.start)
