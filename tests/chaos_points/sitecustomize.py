"""Fault points of `tests/chaos.py`: end this process, or the one beside it, at an exact line. Nothing in the product.

Python imports this module at its start where this folder is on PYTHONPATH. RANKLOOP_CHAOS names a plan file:
{"point": "module:function", "at": line, "victims": ["app", "job"]}. The function is wrapped once its module is
imported; lines that run inside it are counted, and line number `at` kills. A plan works once: its file is taken
away first. With {"count": FILE} nothing is killed and the lines of each point are written to FILE at the end.
"""

import atexit
import contextlib
import functools
import importlib.machinery
import json
import os
import signal
import sys
import threading

APP, JOB = "app", "job"
TRACED = ("/pipeline/", "/storage/", "/transformers/trainer", "/torch/serialization.py", "/safetensors/torch.py",
          "/pyarrow/parquet/core.py")  # fmt: skip
POINTS = {  # phase -> whose lines count, and inside which functions
    "snapshot": (APP, ["pipeline.launch:launch"]),
    "submit": (APP, ["pipeline.monitor:Monitor._queued"]),
    "loading": (JOB, ["pipeline.policy:load_policy", "pipeline.reward:load_reward", "pipeline.reward:new_reward",
                      "pipeline.groups:read_groups", "pipeline.groups:read_prompts"]),
    "first step": (JOB, ["pipeline.group_trainer:GroupTrainer.training_step", "pipeline.group_trainer:FollowRun.on_log",
                         "pipeline.group_trainer:FollowRun.on_step_end", "pipeline.ppo_training:Training.learn",
                         "pipeline.ppo_training:Training.collected", "pipeline.sampling:decode",
                         "pipeline.run_directory:RunDirectory.append_metrics", "pipeline.job:Progress.step"]),
    "checkpoint": (JOB, ["transformers.trainer:Trainer._save_checkpoint", "pipeline.trained_weights:BestPass.take",
                         "pipeline.ppo_training:Training.save", "pyarrow.parquet:write_table",
                         "pipeline.run_directory:write_json"]),
    "finishing": (JOB, ["pipeline.policy:save_policy", "pipeline.reward:save_reward", "pipeline.divergence:sampled_kl",
                        "pipeline.group_trainer:forget_checkpoints", "pipeline.run_directory:RunDirectory.finish"]),
    "registering": (APP, ["pipeline.intake:register_result", "pipeline.intake:take_in_pieces",
                          "pipeline.intake:take_in_metrics", "storage.versions:_register"]),
}  # fmt: skip


class Counter:
    """Counts the lines of each point of this process; at the planned one it kills."""

    def __init__(self, plan: dict, file: str):
        self.plan, self.file = plan, file
        self.seen: dict[str, int] = {}
        self.lock = threading.Lock()

    def tick(self, point: str) -> None:
        with self.lock:
            self.seen[point] = self.seen.get(point, 0) + 1
            due = self.plan.get("point") == point and self.seen[point] == self.plan["at"]
        if due:
            self.kill()

    def write(self, file: str) -> None:
        """The lines of each point, as JSON."""
        with open(file, "w") as opened:
            json.dump(self.seen, opened)

    def kill(self) -> None:
        """End the victims with SIGKILL, this process last."""
        try:
            os.unlink(self.file)
        except FileNotFoundError:
            return
        victims = self.plan["victims"]
        with open(self.file + ".new", "w") as note:
            json.dump(self.plan, note)
        os.replace(self.file + ".new", self.file + ".fired")
        other = JOB if role() == APP else APP
        if other in victims:
            for pid in beside():
                os.kill(pid, signal.SIGKILL)
        if role() in victims:
            os.kill(os.getpid(), signal.SIGKILL)


def role() -> str:
    """Which of the two this process is; "" for any other."""
    words = sys.orig_argv
    if any(word.endswith(("app.py", "tests.chaos_app")) for word in words):
        return APP
    return JOB if "-m" in words and words[words.index("-m") + 1].startswith("pipeline.") else ""


def beside() -> list[int]:
    """The jobs that this app has started, or the app that has started this job."""
    if role() == JOB:
        with open(f"/proc/{os.getppid()}/cmdline", "rb") as file:
            return [os.getppid()] if b"app" in file.read() else []
    found = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat") as stat, open(f"/proc/{name}/cmdline", "rb") as command:
                parent = int(stat.read().rsplit(")", 1)[1].split()[1])
                found += [int(name)] if parent == os.getpid() and b"pipeline." in command.read() else []
        except OSError:
            continue
    return found


def counted(function, point: str, counter: Counter):
    """The function; lines that run inside it on this thread, in the traced files, are counted."""

    def local(frame, event, _argument):
        if event == "line":
            counter.tick(point)
        return local

    def glob(frame, _event, _argument):
        return local if any(part in frame.f_code.co_filename for part in TRACED) else None

    @functools.wraps(function)
    def wrapped(*arguments, **named):
        counter.tick(point)
        before = sys.gettrace()
        sys.settrace(before or glob)
        try:
            return function(*arguments, **named)
        finally:
            sys.settrace(before)
            counter.tick(point)

    return wrapped


class Loader(importlib.machinery.SourceFileLoader):
    """Loads a module as usual, then wraps its functions."""

    targets: tuple[tuple[str, str], ...] = ()
    counter: Counter

    def exec_module(self, module) -> None:
        super().exec_module(module)
        for path, point in self.targets:
            *holders, name = path.split(".")
            holder = functools.reduce(getattr, holders, module)
            setattr(holder, name, counted(getattr(holder, name), point, self.counter))


class Finder:
    """Gives the modules that have fault points the loader that makes them."""

    def __init__(self, targets: dict[str, list[tuple[str, str]]], counter: Counter):
        self.targets, self.counter = targets, counter

    def find_spec(self, name: str, path=None, target=None):
        if name not in self.targets:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = Loader(spec.loader.name, spec.loader.path)
            spec.loader.targets, spec.loader.counter = tuple(self.targets[name]), self.counter
        return spec


def install(file: str) -> None:
    """Wrap what the plan counts in this process."""
    try:
        with open(file) as opened:
            plan = json.load(opened)
    except FileNotFoundError:
        return
    mine = [point for whose, points in POINTS.values() if whose == role() for point in points]
    targets: dict[str, list[tuple[str, str]]] = {}
    for point in mine if "count" in plan else {plan["point"]} & set(mine):
        module, path = point.split(":")
        targets.setdefault(module, []).append((path, point))
    if not targets:
        return
    counter = Counter(plan, file)
    sys.meta_path.insert(0, Finder(targets, counter))
    if "count" in plan:
        atexit.register(counter.write, f"{plan['count']}.{role()}")


if "RANKLOOP_CHAOS" in os.environ:
    if role() == JOB:
        with contextlib.suppress(PermissionError):  # at a job's usual priority, rounds take for ever on a busy machine
            os.setpriority(os.PRIO_PROCESS, 0, 0)
    install(os.environ["RANKLOOP_CHAOS"])
