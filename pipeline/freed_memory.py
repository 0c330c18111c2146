"""Memory that a job has freed stays with it for the next tensor, where the C library can be told so (glibc).

By its defaults glibc gives the memory of a tensor of a few MiB back to the system at once, and the next tensor of that
size pays a page fault for every 4 KiB of it: an eighth of the time of PPO on a CPU, whose sampling, scoring and updates
take turns with tensors of many sizes. It changes no result. Trainers that repeat one kind of step gain nothing. Other C
libraries, and CUDA, which keeps its memory anyway, are left as they are.
"""

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of <malloc.h>
LARGEST = 32 << 20  # bytes of a tensor that is taken from freed memory; glibc allows no more
KEPT = 256 << 20  # bytes that may lie at the end of the heap before they are given back


def keep_freed_memory() -> bool:
    """Tell the C library; whether it took it."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # no glibc
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, LARGEST)) and bool(mallopt(M_TRIM_THRESHOLD, KEPT))
