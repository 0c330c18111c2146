"""Which arithmetic and which attention a model runs with on this machine.

Both are rules on what the machine says of itself, never a timing: a choice that flips with the load would
give other weights for the same seed. It does not set thread counts and does not change a model's dtype.
"""

from contextlib import AbstractContextManager, nullcontext

import torch

EAGER_UP_TO = 128  # tokens per sequence up to which CPU eager attention was the faster one (see `attention_for`)

SAME_SHAPE = 128  # tokens; a CPU compiles every new shape of a bfloat16 product: 10 ms and 3 MB for one layer's step


def pick_device(device: str | torch.device | None = None) -> torch.device:
    """The given device, else CUDA where there is one, else the CPU."""
    if device is not None:
        return torch.device(device)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def bfloat16_is_fast(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 matrices in hardware.

    CUDA from compute capability 8.0; CPUs with avx512_bf16 or AMX. On other CPUs bfloat16 is emulated and
    slower than float32, so it stays off there.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    if device.type == "cpu":
        flags = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        return any(getattr(torch.cpu, flag, lambda: False)() for flag in flags)
    return False


def frozen_dtype(device: torch.device) -> torch.dtype:
    """What weights that are never trained are kept in: bfloat16 on a GPU that is fast with it, half the memory."""
    return torch.bfloat16 if device.type == "cuda" and bfloat16_is_fast(device) else torch.float32


def gathered_dtype(device: torch.device) -> torch.dtype | None:
    """What a layer in shards is gathered in: that of its products under `autocast`, else (None) as it is.

    autocast would keep a cast copy of every layer from its forward to its backward, the whole model again.
    """
    return torch.bfloat16 if bfloat16_is_fast(device) else None


def autocast(device: torch.device | str) -> AbstractContextManager:
    """bfloat16 autocast where `bfloat16_is_fast`, else a context that changes nothing."""
    device = torch.device(device)
    if bfloat16_is_fast(device):
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()


def agree(expected: torch.Tensor, found: torch.Tensor, dtype: torch.dtype) -> bool:
    """Whether two ways to compute the same are one up to rounding, for a model whose weights have this dtype."""
    most = 1e-4 if dtype == torch.float32 else 5e-2
    return bool((expected - found).abs().max() <= most * expected.abs().max())


def width_multiple(device: torch.device) -> int:
    """What the rows of a matrix product are best a multiple of: SAME_SHAPE, or 1 where it does not matter."""
    return SAME_SHAPE if torch.device(device).type == "cpu" and bfloat16_is_fast(torch.device(device)) else 1


def attention_for(device: torch.device, length: int) -> str:
    """The attention implementation for sequences of about `length` tokens: "eager" or "sdpa".

    On a CPU the backward of the fused kernel behind sdpa costs more than the plain matrix products while
    sequences are short; eager needs memory quadratic in the length, so long ones take sdpa.
    """
    return "eager" if device.type == "cpu" and length <= EAGER_UP_TO else "sdpa"
