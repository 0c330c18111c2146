"""Freed memory stays with the process: the next tensor of that size costs no page faults."""

import os
import platform
import resource
import subprocess
import sys

import pytest
import torch

from pipeline.freed_memory import keep_freed_memory

BYTES, TIMES = 8 << 20, 20


def page_faults() -> int:
    """How many it takes to fill tensors of 8 MiB that are freed again at once, when this was done before."""
    for _ in range(2):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(TIMES):
            torch.ones(BYTES, dtype=torch.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.parametrize("asked", [True, False])
def test_tensors_are_made_from_freed_memory_where_the_library_was_told(asked):
    code = f"import {__name__} as here; print({asked} and here.keep_freed_memory(), here.page_faults())"
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "131072"}  # glibc's own, which else moves with what it sees
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    told, faults = done.stdout.split()
    glibc = platform.libc_ver()[0] == "glibc"
    assert told == str(asked and glibc)
    if glibc:
        assert (int(faults) < TIMES * BYTES // 4096 // 10) == asked


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr("pipeline.freed_memory.ctypes.CDLL", lambda _: object())
    assert not keep_freed_memory()
