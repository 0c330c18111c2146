"""Write a version as a folder that other programs load: `python -m pipeline.model_export RUN_DIRECTORY`.

An adapter alone or folded into its base, in the base's own number format, with the model card that `launch` left
in data/; then, where asked, onto the Hub. The folder is artifacts/export. Nothing is trained, and the version's
own files stay as they are.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from huggingface_hub import HfApi
from huggingface_hub.errors import HTTPError  # of the client that the Hub's library speaks through
from transformers import AutoConfig

from pipeline.configs import ExportConfig, make_config
from pipeline.job import Cancelled, Progress, Refused, main
from pipeline.model_files import base_of, is_adapter, portable, scores
from pipeline.policy import Policy, load_policy, merged_policy, save_policy
from pipeline.reward import CARD as REWARD_CARD
from pipeline.reward import load_reward
from pipeline.run_directory import RunDirectory, read_json

FOLDER, MERGED = "export", "merged"
FACTS, CARD = "export.json", "README.md"  # in data/, by model_card.py
STEPS = 2


def work(run: RunDirectory, config: dict) -> dict:
    """Merge or copy, then upload. Raises Refused for a version that is nothing but a model of the Hub."""
    options: ExportConfig = make_config("export", config.get("options"))
    version = config["models"]["version"]
    source, target, progress = Path(version["path"]), run.artifacts / FOLDER, Progress(run, STEPS)
    if not source.is_dir():
        raise Refused(f"{version['name']} is the Hub's model {version['path']} itself; there is nothing to export")
    facts = read_json(run.data / FACTS) or {}
    if options.merged and is_adapter(source):
        merge_into(source, run.artifacts / MERGED)
        files = portable(run.artifacts / MERGED)
    else:
        files = portable(source, facts.get("base"))
    write_folder({**files, CARD: run.data / CARD}, target)
    shutil.rmtree(run.artifacts / MERGED, ignore_errors=True)
    progress.step(1, "the folder is written")
    url = None
    if options.push_to:
        if progress.cancelled:
            raise Cancelled("stopped before the upload; the folder is written")
        url = push(target, options.push_to, options.private, f"{version['name']} from RankLoop")
    progress.step(STEPS, f"uploaded to {url}" if url else "the folder is written")
    size = sum(path.stat().st_size for path in target.iterdir())
    return {"export": f"artifacts/{FOLDER}", "url": url, "metrics": {"files": len(files) + 1, "bytes": size}}


def merge_into(source: Path, target: Path) -> None:
    """Fold the adapter at source into its base, in float32, and write the whole in the base's own number format."""
    if scores(source):
        reward = load_reward(source, "cpu")
        policy = Policy(reward.model, reward.tokenizer, reward.device)
    else:
        policy = load_policy(source, "cpu")
    whole = merged_policy(policy)
    whole.model.to(AutoConfig.from_pretrained(base_of(source)).dtype or torch.float32)
    save_policy(whole, target)
    shutil.copytree(source, target, ignore=lambda _, names: set(names) - {REWARD_CARD}, dirs_exist_ok=True)


def write_folder(files: Mapping[str, Path | bytes], target: Path) -> None:
    """The files in a folder, as copies: whoever saves over a linked file would change the version itself."""
    target.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = target / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            shutil.copyfile(content, path)


def push(folder: Path, repository: str, private: bool, message: str, endpoint: str | None = None) -> str:
    """Upload a folder to a model repository, made where it is missing; its address. Raises Refused."""
    api = HfApi(endpoint=endpoint)
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=folder, commit_message=message)
    except (OSError, ValueError, HTTPError) as error:
        said = str(error).strip().splitlines()[0][:300]
        raise Refused(
            f"{repository} was not uploaded: {said}. The folder is written; check the name, and that the job has a "
            "token that may write there (HF_TOKEN, or `hf auth login` by whoever runs RankLoop)."
        ) from error
    return f"{api.endpoint}/{repository}"


if __name__ == "__main__":
    main(work)
