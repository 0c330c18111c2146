"""Reward models on rankings: our trainer and TRL's RewardTrainer, which forwards every pair.

    python -m tests.benchmarks.reward_model [--groups 12] [--rounds 3] [--k 4 9] [--device cuda --size 0.5b]

Groups of K completions per second of optimizer steps, with equal pairs in a step and equal arithmetic. `ratio_adjacent`
is against a peer that trains only on the K - 1 pairs of neighbours. See `preference_speed.py`.
"""

from tests.benchmarks.preference_speed import Setting, compare

if __name__ == "__main__":
    compare(Setting("reward", "reward_model", "TRL RewardTrainer", epochs=1))
