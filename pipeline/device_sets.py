"""Device sets of this machine: which GPUs a run may see. Text in, names out; asks no device.

`0,1;2,3` are two sets of two GPUs each; a set is named as CUDA_VISIBLE_DEVICES wants it. `cpu` is a set without
a GPU. No setting at all means one set: the whole machine.
"""

import re

WHOLE, CPU = "this machine", "cpu"
DEVICE = re.compile(r"\d+|(GPU|MIG)-[\w/.-]+")


def device_sets(setting: str) -> tuple[str, ...]:
    """The sets a setting names, separated by `;`. Raises ValueError, saying what was found and expected."""
    sets = tuple(",".join(one.strip() for one in part.split(",")) for part in setting.split(";") if part.strip())
    for found in sets:
        if found != CPU and not all(DEVICE.fullmatch(one) for one in found.split(",")):
            raise ValueError(f"found {found!r}, expected sets such as 0,1;2,3 (numbers or ids of GPUs) or {CPU}")
    gpus = [one for found in sets if found != CPU for one in found.split(",")]
    if twice := sorted({one for one in gpus if gpus.count(one) > 1}):
        raise ValueError(f"found GPU {twice[0]} twice, expected each in one set only")
    return sets or (WHOLE,)


def visible_devices(name: str) -> str | None:
    """The value of CUDA_VISIBLE_DEVICES for a set; None leaves it as it is."""
    return {WHOLE: None, CPU: ""}.get(name, name)


def gpus_of(name: str) -> int | None:
    """How many GPUs a set names; None where that is for the machine to say."""
    return {WHOLE: None, CPU: 0}.get(name, name.count(",") + 1)
