"""What follows from how many prompts were compared: passes over them, and the reward model's learning rate.

Few prompts make few steps, and get more passes than the default; many make many, and want a lower rate. Another number
than the default is somebody's choice and stands. Nothing here imports torch: estimates of a run's time use it too.
"""

import math

from pipeline.configs import DPOConfig, RewardConfig

MOST_PASSES = 8
ENOUGH_STEPS: dict[type, int] = {
    RewardConfig: 160,  # 2 passes over 352 prompts are as good as 3, 7 over 89 as 4; over thousands 1 is better than 3
    DPOConfig: 24,  # one person's first 40 rankings make 5 steps a pass; 5 passes over them win 60 %
}
FEW_GROUPS, LOWEST_RATE = 100, 3e-4  # 6,586 real pairs: 70 % of held-out ones in order at 3e-4, 61 % at 1e-3


def passes(groups: int, options: RewardConfig | DPOConfig) -> float:
    """Passes to take over so many groups: as many as make ENOUGH_STEPS, at least the default, at most MOST_PASSES."""
    if options.epochs != type(options)().epochs:
        return options.epochs
    steps = math.ceil(groups / options.groups_per_step)
    return max(options.epochs, min(math.ceil(ENOUGH_STEPS[type(options)] / steps), MOST_PASSES))


def pass_notes(epochs: float, options: RewardConfig | DPOConfig) -> list[str]:
    """A sentence where more passes were taken than asked for."""
    few = f"There are few comparisons: {epochs} passes over them were taken instead of {options.epochs:g}."
    return [few] if epochs != options.epochs else []


def peak_rate(groups: int, options: RewardConfig) -> float:
    """AdamW's peak learning rate: the default falls with the square root of the groups above FEW_GROUPS.

    Few steps need large ones; many large ones leave what the base had learned.
    """
    if options.learning_rate != RewardConfig().learning_rate:
        return options.learning_rate
    return max(options.learning_rate * min(1.0, math.sqrt(FEW_GROUPS / groups)), LOWEST_RATE)


def rate_notes(rate: float, options: RewardConfig) -> list[str]:
    """A sentence where a lower learning rate was taken than the default."""
    lowered = f"There are many prompts: the learning rate was {rate:.2g} instead of {options.learning_rate:g}."
    return [lowered] if rate != options.learning_rate else []
