"""DPO on rankings: our trainer and TRL's DPOTrainer, which forwards every pair.

    python -m tests.benchmarks.dpo [--groups 12] [--rounds 3] [--k 4 9] [--device cuda --size 0.5b]

Two passes and, on both sides, the reference's log-probabilities computed once before them: both are counted.
`ratio_adjacent` is against a peer that trains only on the K - 1 pairs of neighbours. See `preference_speed.py`.
"""

from tests.benchmarks.preference_speed import Setting, compare

if __name__ == "__main__":
    compare(Setting("dpo", "dpo", "TRL DPOTrainer", epochs=2))
