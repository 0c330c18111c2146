"""A job for the stand-in's machines: counts to 4, one checkpoint a step; imports no torch.

HUB_JOB_ORDERS names a folder on this machine: its file `behaviour` says what the job does: count; wait (after step 2,
for the file `go` there); deaf (the same, and heeds neither cancel nor SIGTERM); fail; spill (tells all it can see).
"""

import json
import os
import signal
import time
from pathlib import Path

import pyarrow.parquet as pq

from pipeline.job import Cancelled, Refused, main
from pipeline.run_directory import read_json, write_json

STEPS, HOLD = 4, 2


def work(run, config):
    """Count on from the last checkpoint, then leave what the kind makes."""
    orders = Path(os.environ["HUB_JOB_ORDERS"])
    behaviour = (orders / "behaviour").read_text() if (orders / "behaviour").exists() else "count"
    if behaviour == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if behaviour == "fail":
        raise Refused("found 0 groups, expected at least 1")
    if behaviour == "spill":
        spill(orders)
    done = (read_json(run.checkpoints / "state.json") or {"step": 0})["step"]
    print(f"goes on from {done}", flush=True)
    for step in range(done + 1, STEPS + 1):
        run.append_metrics(step, {"loss": 1 / step})
        write_json(run.checkpoints / "state.json", {"step": step})
        run.write_status("running", step, STEPS, "counting")
        hold(run, orders, behaviour, step)
    run.model.mkdir(parents=True, exist_ok=True)
    (run.model / "config.json").write_text(json.dumps({"counted": STEPS}))
    role = "reward" if config["kind"] == "reward" else "policy"
    return {"model": "artifacts/model", "role": role, "metrics": {"went_on_from": done}, "sizes": {}}


def hold(run, orders, behaviour, step):
    """Wait as told."""
    while behaviour in ("wait", "deaf") and step >= HOLD and not (orders / "go").exists():
        if run.cancel_requested() and behaviour != "deaf":
            raise Cancelled("asked to end")
        time.sleep(0.02)


def spill(orders):
    """Write down all that came to this machine's disk, tables as text, so that a test can look for what must not."""
    files = [path for path in Path(os.environ["TMPDIR"]).rglob("*") if path.is_file() and path.suffix != ".zip"]
    with (orders / "seen").open("wb") as seen:
        for path in files:
            rows = pq.read_table(path).to_pylist() if path.suffix == ".parquet" else None
            seen.write(f"{path}\n".encode() + (path.read_bytes() if rows is None else repr(rows).encode()))


if __name__ == "__main__":
    main(work)
