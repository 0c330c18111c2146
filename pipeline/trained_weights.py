"""The weights that learn: copied out of a model, put back into it, and those of the best pass kept on disk.

Works on whole models and on shards alike; of shards every process gives its part, and the first one writes.
"""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pipeline.processes import ALONE, Processes
from pipeline.run_directory import read_json, write_json
from pipeline.sharding import shard_like, whole

BEST = "best"


def trained_weights(model: nn.Module, keep: bool = True) -> dict[str, Tensor]:
    """Copies of every weight that learns, by name; none where they are not kept, as in all processes but the first."""
    copies = {}
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            values = whole(weight.detach())  # of shards by all, also where it is not kept
            copies |= {name: values.cpu().clone()} if keep else {}
    return copies


@torch.no_grad()
def put_back(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Set the weights that learn."""
    for name, p in model.named_parameters():
        if p.requires_grad:
            p.copy_(shard_like(weights[name], p))


class BestPass:
    """The pass with the lowest held-out loss so far, kept on disk so that a resumed run knows it too.

    Its weights lie in a file named after its step, and the card is replaced once that is whole: a job killed or a
    disk full in between leaves the pass that was best before.
    """

    def __init__(self, folder: Path):
        self.folder, self.card = folder, folder / f"{BEST}.json"

    @property
    def weights(self) -> Path:
        """The file with the weights of the best pass."""
        return self.folder / f"{BEST}-{self.step}.safetensors"

    @property
    def step(self) -> int:
        """After which optimizer step it was taken; 0 before the first."""
        return (read_json(self.card) or {"step": 0})["step"]

    def take(self, model: nn.Module, loss: float, step: int, processes: Processes = ALONE) -> int:
        """Keep this pass if none was better; how many passes there were since the best one, as the first one knows."""
        since = self._passes_since(loss, step) if processes.first else 0
        if not processes.agreed(since > 0):
            weights = trained_weights(model, processes.first)
            if processes.first:
                self._keep(weights, loss, step)
        return since

    def _passes_since(self, loss: float, step: int) -> int:
        """How many passes there were since a better one, with this one noted; 0 if there was none."""
        best = read_json(self.card)
        if not best or best["step"] >= step or best["loss"] > loss:
            return 0
        since = sorted({*best["since"], step})
        write_json(self.card, {**best, "since": since})
        return len([later for later in since if later <= step])

    def _keep(self, weights: dict[str, Tensor], loss: float, step: int) -> None:
        save_file(weights, self.folder / f"{BEST}-{step}.safetensors")
        write_json(self.card, {"loss": loss, "step": step, "since": []})
        for path in self.folder.glob(f"{BEST}-*.safetensors"):
            if path != self.weights:
                path.unlink()

    def restore(self, model: nn.Module) -> None:
        """Give the model the weights of the best pass."""
        if self.weights.exists():
            put_back(model, load_file(self.weights))
