"""What lies in a folder in Hugging Face format, read without torch: config, weights, tokenizer, chat template.

Reads the headers of safetensors files, never the weights, so a file that was cut short or is only a pointer is
found at once. Whether a model can be trained or scored is seen when a job loads it.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path

ADAPTER, ADAPTER_WEIGHTS, BASE = "adapter_config.json", "adapter_model.safetensors", "base.json"
INDEX, WHOLE = "model.safetensors.index.json", "model.safetensors"
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")
CONFIGS = ("config.json", "generation_config.json", "tokenizer_config.json", ADAPTER)  # rewritten when handed out
PATHS = ("_name_or_path", "name_or_path")
HANDED_OUT = (
    *TOKENIZERS,
    "merges.txt",
    "added_tokens.json",
    "special_tokens_map.json",
    "chat_template.*",
    "reward.json",
    INDEX,
    "LICENSE*",
    "NOTICE*",
)
LENGTH = 8  # bytes before a safetensors header that say how long it is
MOST_HEADER = 100_000_000  # bytes; the format's own bound


class UnusableModel(ValueError):
    """A folder or Hub id that is no model for here: what was found, what was expected, what to do."""

    def __init__(self, model: str | Path, found: str, expected: str):
        self.field, self.found, self.expected = "model", found, expected
        super().__init__(f"model {model}: found {found}, expected {expected}")


def read_object(path: Path) -> dict:
    """The JSON object in a file. Raises UnusableModel where it is missing or something else."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UnusableModel(path.parent, f"no {path.name}", "a folder in Hugging Face format; check the path") from None
    except (OSError, ValueError) as error:
        raise UnusableModel(path.parent, f"a {path.name} that cannot be read ({error})", "a JSON object") from None
    if not isinstance(found, dict):
        raise UnusableModel(path.parent, f"a {path.name} that is no object", "a JSON object")
    return found


def is_adapter(folder: Path) -> bool:
    """Whether the folder holds a PEFT adapter instead of a whole model."""
    return (folder / ADAPTER).is_file()


def base_of(path: str | Path) -> str | None:
    """The folder or Hub id of an adapter's base, None where path is not an adapter. Raises FileNotFoundError.

    base.json says where the base lies from the adapter's folder, so that both may be moved together.
    """
    folder = Path(path)
    if not is_adapter(folder):
        return None
    noted = _object(folder / BASE).get("base")
    if noted and (folder / noted / "config.json").is_file():
        return str((folder / noted).resolve())
    written = str(read_object(folder / ADAPTER).get("base_model_name_or_path"))
    if Path(written).is_absolute() and not (Path(written) / "config.json").is_file():
        raise FileNotFoundError(f"model: {folder} is an adapter on {written}, which does not exist; restore that model")
    return written


def weight_files(folder: Path) -> list[Path]:
    """Every safetensors file of the model or adapter, all there and whole. Raises UnusableModel."""
    if is_adapter(folder):
        names = {ADAPTER_WEIGHTS}
    elif (folder / INDEX).is_file():
        names = set(map(str, read_object(folder / INDEX).get("weight_map", {}).values()))
    else:
        names = {WHOLE}
    for name in sorted(names):
        if not (folder / name).is_file():
            other = " (there are .bin files, which are not loaded: they can carry code)" if _has_bin(folder) else ""
            raise UnusableModel(folder, f"no {name}{other}", "weights as safetensors; save the model again or fetch it")
        safetensors_header(folder / name)
    return [folder / name for name in sorted(names)]


def safetensors_header(path: Path) -> Mapping[str, Mapping]:
    """{tensor: {"dtype", "shape", "data_offsets"}} of one file. Raises UnusableModel where the file is not whole."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(LENGTH), "little")
        if not 2 <= length <= min(MOST_HEADER, size - LENGTH):
            raise UnusableModel(
                path.parent, f"a {path.name} of {size} bytes that is no safetensors file", "the weights"
            )
        try:
            header = json.loads(file.read(length))
        except ValueError:
            raise UnusableModel(path.parent, f"a {path.name} with a damaged header", "the weights") from None
    header.pop("__metadata__", None)
    ends = max((entry["data_offsets"][1] for entry in header.values()), default=0)
    if size != LENGTH + length + ends:
        expected = f"{LENGTH + length + ends}; it was cut short, so copy it again"
        raise UnusableModel(path.parent, f"a {path.name} of {size} bytes", expected)
    return header


def parameters(folder: Path) -> int:
    """How many numbers the weights are; of an adapter its own."""
    headers = [safetensors_header(path) for path in weight_files(folder)]
    return sum(math.prod(entry["shape"]) for header in headers for entry in header.values())


def require_tokenizer(folder: Path) -> None:
    """Raises UnusableModel where the folder has none."""
    if not any((folder / name).is_file() for name in TOKENIZERS):
        raise UnusableModel(folder, "no tokenizer", f"one of {', '.join(TOKENIZERS)} beside the weights")


def has_end(folder: Path) -> bool:
    """Whether tokenizer or config name a token that ends a text."""
    named = _object(folder / "tokenizer_config.json"), _object(folder / "special_tokens_map.json")
    numbered = _object(folder / "config.json"), _object(folder / "generation_config.json")
    return any(one.get("eos_token") or one.get("sep_token") for one in named) or any(
        one.get("eos_token_id") is not None for one in numbered
    )


def has_chat_template(folder: Path) -> bool:
    """Whether the tokenizer brings a template for conversations."""
    files = any((folder / name).is_file() for name in ("chat_template.jinja", "chat_template.json"))
    return files or bool(_object(folder / "tokenizer_config.json").get("chat_template"))


# ---- as other programs get it
def scores(folder: Path) -> bool:
    """Whether it is a reward model: one with a head for scores, or an adapter for one."""
    if is_adapter(folder):
        return _object(folder / ADAPTER).get("task_type") == "SEQ_CLS"
    return any(
        "SequenceClassification" in str(name) for name in _object(folder / "config.json").get("architectures", ())
    )


def portable(folder: Path, base: str | None = None) -> dict[str, Path | bytes]:
    """What to hand out of a model's folder, by name: files as they are, but no path of this machine in a config.

    base is what an adapter's config calls its base: a Hub id, else a name. Raises UnusableModel for damaged weights.
    """
    found: dict[str, Path | bytes] = {path.name: path for path in weight_files(folder)}
    for pattern in HANDED_OUT:
        found |= {path.name: path for path in folder.glob(pattern) if path.is_file()}
    found |= {name: _without_paths(folder / name, base) for name in CONFIGS if (folder / name).is_file()}
    return {name: content for name, content in sorted(found.items()) if name != BASE}


def _without_paths(path: Path, base: str | None) -> bytes:
    values = {name: value for name, value in read_object(path).items() if name not in PATHS}
    if path.name == ADAPTER:
        values["base_model_name_or_path"] = base
    return json.dumps(values, ensure_ascii=False, indent=2).encode()


def _object(path: Path) -> dict:
    return read_object(path) if path.is_file() else {}


def _has_bin(folder: Path) -> bool:
    return any(folder.glob("*.bin"))
