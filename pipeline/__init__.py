"""What follows from the rankings: comparisons, statistics, snapshots, and the jobs that train on them.

Modules that run inside a job see only a run directory; see `run_directory.py`.
"""
