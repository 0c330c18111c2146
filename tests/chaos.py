"""Kill the app, its job, or both with SIGKILL at every phase of a run; the run must end in one true state, once.

    python -m tests.chaos --rounds 50 --seed 0 --kind mixed

A round starts the app on a copy of a small data folder and a real training run, kills at the planned moment, starts
the app again, resumes the run if its job was killed, and holds what it left against the same run undisturbed: equal
weights and metrics bit by bit, one whole version, no process left. Most kills happen at an exact line
(`chaos_points/sitecustomize.py`), the others from outside as soon as a file of the phase appears, after a random
delay. Every tenth round runs the whole app, the others one without its pages. Prints a table and one JSON object;
exits 1 if anything is wrong. `chaos_world.py` is what is killed, `chaos_verdict.py` what must hold.
"""

import argparse
import ctypes
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.chaos_points.sitecustomize import APP, JOB, POINTS
from tests.chaos_verdict import Outcome, outcome, troubles
from tests.chaos_world import OPTIONS, SECONDS, App, copy_of, make_template

SUBREAPER = 36  # prctl: orphaned jobs become children of this process, so that none is left unseen
ENDED = ("succeeded", "failed", "cancelled")
NEW_RUN = "000[2-9]*"
SIGNS = {  # phase -> what appears among the run directories when it begins, as patterns
    "snapshot": (".*.new",),
    "submit": (f"{NEW_RUN}/config.json",),
    "loading": (f"{NEW_RUN}/status.json",),
    "first step": (f"{NEW_RUN}/metrics.jsonl",),
    "checkpoint": tuple(f"{NEW_RUN}/{one}" for one in ("checkpoints/check*/*", "checkpoints/*.pt*", "*/completions/*")),
    "finishing": (f"{NEW_RUN}/artifacts/*model*", f"{NEW_RUN}/*/completions/part-00002*"),
    "registering": (f"{NEW_RUN}/result.json",),
}
LEAVING = 20  # seconds that an interpreter with torch may take to end on a busy machine
EARLY = ("snapshot", "submit")  # there is no job yet


@dataclass(frozen=True)
class Plan:
    """Who is killed when: at a line of a function of the phase, or (point "") a delay after the phase's sign."""

    kind: str
    phase: str
    victims: tuple[str, ...]
    point: str
    at: int
    delay: float
    pages: bool

    @property
    def whom(self) -> str:
        return " and ".join(self.victims)


class Chaos:
    """The template, the undisturbed runs, and the rounds on it."""

    def __init__(self, folder: Path, kinds: Sequence[str], phases: Sequence[str], seed: int, say: Callable):
        self.folder, self.kinds, self.phases, self.say = folder, kinds, phases, say
        self.random = random.Random(seed)
        ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
        self.key = make_template(folder)
        self.quiet: dict[str, Outcome] = {}
        self.lines: dict[str, dict[str, int]] = {}

    def undisturbed(self, kind: str) -> Outcome:
        """The kind's run without a kill, made once; it also counts the lines of each phase."""
        if kind not in self.quiet:
            counts = self.folder / f"{kind}.lines"
            app = self.app(f"quiet-{kind}", {"count": str(counts)})
            found, run_id, said = self.lived(app, kind, None)
            self.lines[kind] = {}
            for role in (APP, JOB):
                self.lines[kind] |= json.loads(Path(f"{counts}.{role}").read_text())
            self.quiet[kind] = found
            if said or found.unsound:
                raise SystemExit(f"{run_id} undisturbed: {[*said, *found.unsound]}\n{app.said()}")
            self.say(f"{kind} undisturbed: lines {self.lines[kind]}")
        return self.quiet[kind]

    def app(self, name: str, plan: dict | None, pages: bool = False) -> App:
        return App(copy_of(self.folder, self.folder / name), self.folder / "tiny", self.key, plan, pages)

    def plan(self, number: int) -> Plan:
        """Phases in turns, so that all come; the rest by chance."""
        phase = self.phases[number % len(self.phases)]
        kind = self.random.choice(self.kinds)
        self.undisturbed(kind)
        whom = [(APP,)] if phase in EARLY else [(APP,), (JOB,), (APP, JOB)]
        points = [point for point in POINTS[phase][1] if point in self.lines[kind]]
        point = self.random.choice(points) if self.random.random() < 0.75 else ""
        at = self.random.randint(1, self.lines[kind][point]) if point else 0
        delay = self.random.choice([0.0, self.random.uniform(0, 0.3), self.random.uniform(0, 3)])
        return Plan(kind, phase, self.random.choice(whom), point, at, delay, number % 10 == 9)

    def round(self, number: int, plan: Plan) -> tuple[str, list[str]]:
        """How it went in a few words, and what was wrong."""
        line = {"point": plan.point, "at": plan.at, "victims": plan.victims} if plan.point else None
        app = self.app(f"round-{number}", line, plan.pages)
        try:
            found, run_id, said = self.lived(app, plan.kind, plan)
        except AssertionError as error:
            return "broke", [f"{error}\n{app.said()}"]
        finally:
            left = self.left_behind()
        said += left
        if run_id is not None:
            said += troubles(found, self.undisturbed(plan.kind))
        if not said:
            shutil.rmtree(app.folder)
        return self.ended, said

    def lived(self, app: App, kind: str, plan: Plan | None) -> tuple[Outcome, str, list[str]]:
        """Start, run, kill, start again, resume, leave; what is left, the run, and what was wrong on the way."""
        said: list[str] = []
        assert app.start(), f"the app did not start: {app.said()}"
        app.launch(kind)
        killed = self.watched(app, plan)
        if not app.alive:
            app.plan_file.unlink(missing_ok=True)
            assert app.start(), f"the app did not start again: {app.said()}"
        path = [] if killed or plan is None else ["not hit"]
        if (run := self.until_ended(app)) is None:
            path.append("no run yet, started again")
            run = self.until_ended(app, app.launch(kind))
        path.append(run["state"])
        if run["state"] != "succeeded":
            said += self.unjust(run, plan)
            reply = app.ask("POST", f"/runs/{run['run']}/resume")
            path.append("resumed" if reply.status_code < 300 else "started again")
            run = self.until_ended(app, run["run"] if reply.status_code < 300 else app.launch(kind))
            path.append(run["state"])
            said += [] if run["state"] == "succeeded" else [f"in the end {run['state']}: {run['reason']}"]
        code = app.leave()
        said += [] if code == 0 else [f"the app left with exit code {code}"]
        self.ended = ", ".join(path)
        return outcome(app.folder, run["run"]), run["run"], said

    def unjust(self, run: dict, plan: Plan | None) -> list[str]:
        """A run may fail where its job was killed, or where the app was while it prepared the run."""
        if plan and (JOB in plan.victims or plan.phase == "snapshot"):
            return []
        return [f"its job was not killed, and it {run['state']}: {run['reason'][:300]}"]

    def watched(self, app: App, plan: Plan | None) -> bool:
        """Wait for the kill to happen, or make it; whether anybody was killed before the run had ended."""
        deadline = time.monotonic() + SECONDS
        while plan is not None and time.monotonic() < deadline:
            if plan.point and app.fired:
                break
            if not plan.point and any(any(app.folder.glob(f"runs/{one}")) for one in SIGNS[plan.phase]):
                time.sleep(plan.delay)
                app.kill(list(plan.victims))
                return True
            time.sleep(0.002)
            if app.alive and time.monotonic() % 1 < 0.01 and (run := app.newest()) and run["state"] in ENDED:
                break
        if plan is not None and app.fired and APP in plan.victims:
            app.process.wait(SECONDS)
        return bool(app.fired)

    def until_ended(self, app: App, run_id: str | None = None) -> dict | None:
        """The run once it has ended; None where there is none."""
        deadline = time.monotonic() + SECONDS
        while (run := app.newest()) is not None:
            if run["state"] in ENDED and run_id in (None, run["run"]):
                return run
            assert time.monotonic() < deadline, f"{run['run']} stays {run['state']}: {run}"
            time.sleep(0.2)
        return None

    def left_behind(self) -> list[str]:
        """Processes under this one that go on when all is over; those that are about to end may do so."""
        _, left = psutil.wait_procs(psutil.Process().children(recursive=True), timeout=LEAVING)
        said = [f"left behind: {process.pid} {' '.join(process.cmdline())[:200]}" for process in left]
        for process in left:
            process.kill()
        return said


def run_rounds(
    rounds: int,
    folder: Path,
    seed: int,
    kinds: Sequence[str],
    phases: Sequence[str] = tuple(POINTS),
    say: Callable[[str], object] = lambda text: None,
) -> tuple[dict, Counter]:
    """Run them; the report, and how often each (phase, whom, how it ended) came."""
    chaos, table, wrong = Chaos(folder, kinds, phases, seed, say), Counter(), []
    for number in range(rounds):
        plan = chaos.plan(number)
        ended, said = chaos.round(number, plan)
        table[plan.phase, plan.whom, ended] += 1
        say(f"round {number + 1}: {plan}: {ended}{''.join(f'{chr(10)}  WRONG {text}' for text in said)}")
        wrong += [{"round": number + 1, "plan": str(plan), "said": said}] if said else []
    return {"name": "chaos", "rounds": rounds, "failures": len(wrong), "wrong": wrong}, table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", choices=("mixed", *OPTIONS), default="mixed")
    parser.add_argument("--phase", nargs="+", choices=tuple(POINTS), default=tuple(POINTS), help="kill in these only")
    options = parser.parse_args()
    kinds = list(OPTIONS) if options.kind == "mixed" else [options.kind]
    folder = Path(tempfile.mkdtemp(prefix="rankloop-chaos-"))
    say = lambda text: print(text, file=sys.stderr, flush=True)  # noqa: E731 - progress beside the answer
    result, table = run_rounds(options.rounds, folder, options.seed, kinds, options.phase, say)
    print(f"{'phase':12} {'killed':12} {'times':>5}  outcome")
    for (phase, whom, ended), times in sorted(table.items(), key=lambda item: list(POINTS).index(item[0][0])):
        print(f"{phase:12} {whom:12} {times:5}  {ended}")
    print(json.dumps(result))
    if not result["failures"]:
        shutil.rmtree(folder)
    sys.exit(1 if result["failures"] else 0)


if __name__ == "__main__":
    main()
