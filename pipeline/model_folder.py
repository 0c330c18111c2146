"""Whether a folder holds a model that loads, and how large it is, from its files alone: no torch, no tensor is read.

Reads config.json and the headers of the safetensors files. What a model is worth, or whether its architecture is
known to transformers, is seen when a run loads it.
"""

import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path

from pipeline.run_directory import read_json

LARGEST_HEADER = 100_000_000  # bytes; the format's own bound


class Unloadable(ValueError):
    """A folder that holds no model, or a damaged one: says what is wrong with which file."""


@dataclass(frozen=True)
class ModelFiles:
    """bytes of the weights on disk, their number, and the sizes of the network that its config tells (0 = untold)."""

    bytes: int
    parameters: int
    layers: int = 0
    width: int = 0
    vocabulary: int = 0


def model_files(folder: Path) -> ModelFiles:
    """What the folder holds. Raises Unloadable."""
    adapter = (folder / "adapter_config.json").is_file()
    name = "adapter_config.json" if adapter else "config.json"
    if not (folder / name).is_file():
        raise Unloadable(f"{folder} lacks config.json; was its run deleted?")
    config = read_json(folder / name)
    if not isinstance(config, dict):
        raise Unloadable(f"{folder / name} is damaged: it is no JSON object")
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        other = "; only safetensors are loaded, convert its .bin files" if [*folder.glob("*.bin")] else ""
        raise Unloadable(f"{folder} lacks its weights{other or '; was its run deleted?'}")
    config = config.get("text_config") or config
    sizes = [int(config.get(key) or 0) for key in ("num_hidden_layers", "hidden_size", "vocab_size")]
    return ModelFiles(sum(path.stat().st_size for path in weights), sum(map(_parameters, weights)), *sizes)


def _parameters(path: Path) -> int:
    """How many numbers a safetensors file holds; its length must be what its header says."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
        if not 2 <= length <= min(size, LARGEST_HEADER):
            raise Unloadable(f"{path} is damaged: it has no header of a safetensors file")
        try:
            tensors = json.loads(file.read(length))
            found = [tensor for name, tensor in tensors.items() if name != "__metadata__"]
            end = max((tensor["data_offsets"][1] for tensor in found), default=0)
            count = sum(math.prod(tensor["shape"]) for tensor in found)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            raise Unloadable(f"{path} is damaged: its header cannot be read") from None
    if size != 8 + length + end:
        raise Unloadable(f"{path} is damaged: found {size} bytes, its header says {8 + length + end}")
    return count
