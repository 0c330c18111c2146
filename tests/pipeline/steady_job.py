"""A job that counts, for the conformance tests: each step is a metric line, a status and a checkpoint.

config["steady"] says how: `orders` (a folder both sides can read), `does`, `steps`, `hold`, the step after which it
waits for the file `go` in the orders, and `torn`: with its next metric line half written. does: count; exit (code 9,
no result); stubborn (does not look for a cancel, and has a child); deaf (nor for SIGTERM, and its child neither).
It appends its pid to the file `starts` in the orders, and goes on from a checkpoint. Imports no torch.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from pipeline.job import Cancelled, main
from pipeline.run_directory import read_json, write_json

CHILD = "import signal, sys, time; sys.argv[2] == 'deaf' and signal.signal(15, signal.SIG_IGN); time.sleep(600)"


def work(run, config):
    """Count to `steps`, then leave a model."""
    does, steps, orders = (config["steady"][name] for name in ("does", "steps", "orders"))
    begin(does, Path(orders))
    done = (read_json(run.checkpoints / "state.json") or {"step": 0})["step"]
    for step in range(done + 1, steps + 1):
        write_line(run, step, config["steady"])
        run.write_status("running", step, steps, "counting")
        write_json(run.checkpoints / "state.json", {"step": step})
    run.model.mkdir(parents=True, exist_ok=True)
    (run.model / "config.json").write_text(json.dumps({"counted": steps}))
    return {"model": "artifacts/model", "role": "policy", "metrics": {"went on from": done}, "sizes": {}}


def begin(does, orders):
    """Leave a trace of this start, and be as hard to end as asked."""
    with (orders / "starts").open("a") as starts:
        starts.write(f"{os.getpid()}\n")
    print(f"steady job does: {does}", flush=True)
    if does == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if does in ("deaf", "stubborn"):
        subprocess.Popen([sys.executable, "-c", CHILD, str(orders), does])


def write_line(run, step, steady):
    """The step's metric line; that of the step after `hold` waits, perhaps when half of it is written."""
    line = json.dumps({"step": step, "time": time.time(), "loss": 1 / step}) + "\n"
    half = len(line) // 2 if steady["torn"] else 0
    with (run.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
        if step == steady["hold"] + 1:
            file.write(line[:half])
            file.flush()
            hold(run, steady)
            line = line[half:]
        file.write(line)


def hold(run, steady):
    """Wait for the order to go on; or end, each in its way."""
    if steady["does"] == "exit":
        os._exit(9)
    while not (Path(steady["orders"]) / "go").exists():
        if steady["does"] == "count" and run.cancel_requested():
            raise Cancelled("asked to end")
        time.sleep(0.02)


if __name__ == "__main__":
    main(work)
