"""A job that trains nothing: obeys the run directory's contract as the file `behaviour` beside the runs says.

succeed (default), fail, die (no result, no error), killed (by signal 9), hang (until cancelled), deaf (ignores
cancel and SIGTERM), wait (until the file `go` stands beside the runs, then succeed), parent (hang, with a child in
the job's group and one in a session of its own, as a launcher of several processes has them), chatter (hang, and
report all the time), mute (hang and hear nothing), lingers (succeed, and do not end). Imports no torch: tests stay
fast.
"""

import atexit
import json
import os
import signal
import subprocess
import sys
import time

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.job import Cancelled, Refused, main

PROMPTS_PER_PIECE = 4


def work(run, config):
    """Do what the behaviour says, then make what the kind makes."""
    beside = run.path.parent
    behaviour = (beside / "behaviour").read_text() if (beside / "behaviour").exists() else "succeed"
    if behaviour == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print(f"fake {config['kind']} does: {behaviour}", flush=True)
    run.append_metrics(1, {"loss": 0.5})
    run.write_status("running", 1, 4, "faking")
    if behaviour == "parent":
        child = [sys.executable, "-c", "import time; time.sleep(60)"]
        subprocess.Popen(child)
        subprocess.Popen([*child, "-m", str(run.path)], start_new_session=True)
    if behaviour == "mute":
        time.sleep(60)
    if behaviour == "lingers":
        atexit.register(time.sleep, 60)
    if behaviour == "fail":
        raise Refused("found 0 groups, expected at least 1")
    if behaviour == "die":
        os._exit(9)
    if behaviour == "killed":
        time.sleep(0.2)  # so that whoever started it sees its end
        os.kill(os.getpid(), signal.SIGKILL)
    while behaviour in ("hang", "deaf", "parent", "chatter") or (behaviour == "wait" and not (beside / "go").exists()):
        if run.cancel_requested() and behaviour != "deaf":
            raise Cancelled("asked to end")
        if behaviour == "chatter":
            run.write_status("running", 1, 4, "faking")
        time.sleep(0.02)
    return generate(run, config) if config["kind"] == "generate" else train(run, config)


def train(run, config):
    if config["kind"] == "export":
        (run.artifacts / "export").mkdir()
        (run.artifacts / "export" / "README.md").write_bytes((run.data / "README.md").read_bytes())
        return {"export": "artifacts/export", "url": None, "metrics": {"files": 1, "bytes": 9}}
    if config["kind"] in ("evaluate", "score"):
        return {"metrics": {"reward/mean": 1.0}}
    run.model.mkdir(exist_ok=True)
    (run.model / "config.json").write_text("{}")
    run.append_metrics(2, {"loss": 0.25})
    role = "reward" if config["kind"] == "reward" else "policy"
    return {"model": "artifacts/model", "role": role, "metrics": {"eval/accuracy": 0.75}, "sizes": config["sizes"]}


def generate(run, config):
    """Pieces of four prompts, k completions each; the last prompt of all gets one only."""
    prompts = pq.read_table(run.data / "prompts.parquet")["prompt_id"].to_pylist()
    models = [config["models"][place]["name"] for place in ("policy", "against") if place in config["models"]]
    folder = run.artifacts / "completions"
    folder.mkdir(exist_ok=True)
    written = 0
    for number, begin in enumerate(range(0, len(prompts), PROMPTS_PER_PIECE)):
        rows = [
            row(prompt, model, k)
            for prompt in prompts[begin : begin + PROMPTS_PER_PIECE]
            for model in models
            for k in range(1 if prompt == prompts[-1] and len(models) == 1 else config["options"]["k"] // len(models))
        ]
        write_piece(folder / f"part-{number:05d}.parquet", rows)
        written += len(rows)
    return {"completions": written, "metrics": {}}


def row(prompt, model, k):
    text = f"Sure! {model} answers {prompt}, number {k}. Thank you."
    return {"prompt_id": prompt, "model": model, "text": text, "ended": True, "settings": json.dumps({"seed": k})}


def write_piece(path, rows):
    partial = path.with_suffix(".tmp")
    pq.write_table(pa.Table.from_pylist(rows), partial)
    partial.rename(path)


if __name__ == "__main__":
    main(work)
