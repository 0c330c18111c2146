"""What a lack of memory means in words: which setting to make smaller. Pure, no torch.

Used by a job that was refused memory, and by the monitor for a job that was killed.
"""

from collections.abc import Mapping

SIGNS = ("out of memory", "can't allocate memory", "cannot allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")
SMALLER = {  # per kind: options that take memory, in the order in which to make them smaller
    "starter": ("tokens", "width"),
    "generate": ("batch_size", "max_new_tokens"),
    "evaluate": ("prompts", "max_new_tokens"),
    "sft": ("batch_size", "max_length"),
    "reward": ("groups_per_step", "max_length"),
    "dpo": ("groups_per_step", "max_length"),
    "ppo": ("batch_size", "max_new_tokens"),
}


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on any device."""
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or any(sign.lower() in str(error).lower() for sign in SIGNS)


def advice(kind: str, options: Mapping[str, object]) -> str:
    """One sentence: the smaller values to try."""
    halved = [
        f"{name} {max(1, int(value) // 2)} instead of {value}"
        for name in SMALLER.get(kind, ())
        if isinstance(value := options.get(name), int) and not isinstance(value, bool) and value > 1
    ]
    tries = f"try {' or '.join(halved)}" if halved else "close other programs or take a larger machine"
    lora = ", or lora_rank 16 if all weights were trained" if options.get("lora_rank") == 0 else ""
    anew = ", or gradient_checkpointing" if options.get("gradient_checkpointing") is False else ""
    return f"The run ran out of memory: {tries}{lora}{anew}."
