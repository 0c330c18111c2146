"""The verbs: exit codes, one JSON object on stdout, words for people on stderr."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import app
from pipeline import first_start
from pipeline.configs import MODULES
from pipeline.monitor import Monitor
from storage.database import Database
from tests.pipeline.small_campaign import FAKE
from ui.command_line import make_parser

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def verb(tmp_path, monkeypatch, capsys):
    """Runs a verb with --json on one folder with fake jobs; returns (exit code, answer, stderr)."""
    for kind in MODULES:
        monkeypatch.setitem(MODULES, kind, FAKE)
    monkeypatch.setattr(first_start, "DEMO_PROMPTS", 12)
    monkeypatch.setattr("ui.verbs_runs.POLL_SECONDS", 0.02)

    def run(*words):
        try:
            code = app.main([*words, "--json"], {"RANKLOOP_DATA": str(tmp_path / "data")})
        except SystemExit as usage:
            code = usage.code
        said = capsys.readouterr()
        return code, json.loads(said.out) if said.out.strip() else None, said.err

    run.data = tmp_path / "data"
    return run


def records(path, count=3):
    lines = [
        {"prompt": f"Question {n}?", "completions": [{"model": m, "text": f"{m} says {n}"} for m in "ab"]}
        for n in range(count)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


@pytest.mark.slow
def test_simulate_on_an_empty_folder_makes_what_is_missing(verb):
    code, answer, err = verb("simulate", "--annotators", "2", "--limit", "9")
    assert code == 0 and (answer["annotators"], answer["rankings"]) == (2, 9)
    assert set(answer["gold_reward"]) == {"starter"}
    assert set(answer["gold_reward"]["starter"]) == {"mean", "standard_error", "n"}
    assert "Training the starter policy" in err and "elapsed" in err


@pytest.mark.slow
def test_the_loop_has_the_agreed_keys(verb, tmp_path):
    verb("simulate", "--annotators", "2")
    code, trained, _ = verb("train", "reward", "--epochs", "1")
    assert code == 0 and set(trained) == {"run", "kind", "state", "version", "seconds", "data_hash", "metrics"}
    assert (trained["version"], trained["state"], trained["metrics"]) == (
        "reward-1",
        "succeeded",
        {"eval/accuracy": 0.75},
    )
    assert verb("train", "ppo")[1]["version"] == "ppo-1"
    code, compared, _ = verb("generate", "--policy", "ppo-1", "--k", "4")
    assert (compared["policy"], compared["against"], compared["tasks"]) == ("ppo-1", "starter", 12)
    assert verb("generate", "--policy", "ppo-1", "--against", "none")[1]["against"] is None
    code, judged, _ = verb("evaluate", "--policy", "ppo-1")
    assert code == 0 and judged["metrics"] == {"reward/mean": 1.0} and judged["against"] == "starter"
    code, scored, _ = verb("score", "--completions", "5")
    assert code == 0 and (scored["reward"], scored["metrics"]) == ("reward-1", {"reward/mean": 1.0})
    assert verb("report")[1]["campaigns"][0]["rankings"] == 22
    assert verb("check")[1]["sound"] is True


@pytest.mark.slow
def test_ppo_without_a_reward_model_is_refused(verb):
    code, answer, err = verb("train", "ppo")
    assert (code, answer) == (1, None) and "`train reward` first" in err


@pytest.mark.slow
def test_a_failed_run_tells_its_error_and_the_logs_end(verb):
    verb("simulate", "--limit", "12")
    (verb.data / "runs" / "behaviour").write_text("fail")
    code, answer, err = verb("train", "reward")
    assert code == 1 and (answer["state"], answer["version"]) == ("failed", None)
    assert "found 0 groups" in err and "fake reward does: fail" in err


@pytest.mark.slow
@pytest.mark.parametrize(
    "words, told",
    [
        (("train", "reward", "--epochs", "none"), "epochs"),
        (("train", "magic"), "invalid choice"),
        (("fly",), "invalid choice"),
        (("simulate", "--noise", "-1"), "--noise: found -1"),
        (("simulate", "--url", "http://here"), "expected both"),
        (("import", "gone.jsonl"), "no file 'gone.jsonl'"),
    ],
)
def test_wrong_usage_exits_2_and_says_what_is_wrong(verb, words, told):
    code, answer, err = verb(*words)
    assert (code, answer) == (2, None) and told in err


def test_an_import_makes_no_policy_and_no_demo(verb, tmp_path):
    code, answer, _ = verb("import", records(tmp_path / "mine.jsonl"))
    assert code == 0 and (answer["campaign"], answer["prompts"], answer["tasks"]) == ("mine", 3, 3)
    assert verb("report")[1]["campaigns"][0]["name"] == "mine"
    assert not list((verb.data / "runs").iterdir())


def test_a_bad_record_is_refused_with_its_line_and_the_rest_goes_in(verb, tmp_path):
    path = Path(records(tmp_path / "mine.jsonl"))
    path.write_text(path.read_text() + '{"prompt": 7}\n')
    code, answer, err = verb("import", str(path))
    assert code == 0 and answer["prompts"] == 3
    assert (answer["refused"][0]["line"], answer["refused"][0]["file"]) == (4, str(path)) and "line 4" in err
    (tmp_path / "bad.jsonl").write_text('{"prompt": 7}\n')
    assert verb("import", str(tmp_path / "bad.jsonl"))[0] == 1


@pytest.mark.slow
def test_a_campaign_is_asked_for_only_where_several_hold_data(verb, tmp_path):
    verb("import", records(tmp_path / "one.jsonl"))
    verb("simulate", "--annotators", "1")
    verb("import", records(tmp_path / "two.jsonl"), "--campaign", "two")
    assert verb("train", "reward")[0] == 0
    verb("simulate", "--annotators", "1")
    code, _, err = verb("train", "reward")
    assert code == 2 and "'one', 'two'" in err
    assert verb("train", "reward", "--campaign", "two")[0] == 0
    assert verb("train", "reward", "--campaign", "three")[0] == 1


@pytest.mark.slow
def test_export_backup_and_restore(verb, tmp_path):
    verb("simulate", "--annotators", "2")
    code, answer, _ = verb("export", str(tmp_path / "out"))
    assert code == 0 and {file["split"] for file in answer["files"]} >= {"train"} and answer["ties_dropped"] >= 0
    assert verb("backup", str(tmp_path / "all.zip"))[0] == 0
    before = verb("report")[1]
    verb.data.rename(tmp_path / "old")
    assert verb("restore", str(tmp_path / "all.zip"))[0] == 0
    assert verb("report")[1] == before and verb("check")[0] == 0
    assert verb("restore", str(tmp_path / "all.zip"))[0] == 1


def test_a_held_folder_is_told_in_one_line_with_the_address(verb):
    verb("check")
    (verb.data / "server.json").write_text('{"pid": 42, "url": "http://127.0.0.1:7860"}')
    with Database(verb.data):
        code, answer, err = verb("report")
    assert (code, answer) == (1, None) and "http://127.0.0.1:7860" in err and len(err.splitlines()) == 1


@pytest.mark.slow
def test_an_interrupt_leaves_the_run_and_exits_130(verb, monkeypatch):
    verb("simulate", "--limit", "12")

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as pressed:
        pressed.setattr(Monitor, "wait", interrupted)
        code, answer, err = verb("train", "reward")
    assert (code, answer) == (130, None) and "0003-reward goes on" in err
    code, answer, _ = verb("train", "dpo")
    assert code == 0 and {v["version"] for v in [answer]} == {"dpo-1"}


def test_every_option_of_a_kind_is_a_flag():
    parser = make_parser()
    options = parser.parse_args(["train", "ppo", "--kl-target", "4", "--batch_size", "8", "--reward", "reward-1"])
    assert (options.option_kl_target, options.option_batch_size, options.reward) == ("4", "8", "reward-1")


@pytest.mark.slow
def test_help_loads_no_pages():
    code = "import sys, app; app.main(['report'], {'RANKLOOP_DATA': sys.argv[1]}); print('gradio' in sys.modules)"
    done = subprocess.run([sys.executable, "app.py", "--help"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "simulate" in done.stdout
    done = subprocess.run([sys.executable, "-c", code, "/tmp/none-such"], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "False", done.stderr


def test_simulate_ranks_an_imported_campaign_without_making_a_starter(verb, tmp_path):
    record = {"prompt": "Hi?", "completions": [{"model": "a", "text": "Hello."}, {"model": "b", "text": "No."}]}
    file = tmp_path / "mine.jsonl"
    file.write_text(json.dumps(record) + "\n")
    verb("import", str(file))
    code, answer, _ = verb("simulate", "--annotators", "1")
    assert code == 0 and answer["rankings"] == 1 and set(answer["gold_reward"]) == {"a", "b"}
    assert verb("report")[1]["campaigns"][0]["name"] == "mine"


@pytest.mark.slow
def test_resources_are_flags_of_every_run_and_are_kept_with_it(verb, tmp_path):
    verb("simulate", "--annotators", "2")
    code, answer, _ = verb("train", "reward", "--hardware", "this machine", "--timeout-minutes", "5")
    config = json.loads((verb.data / "runs" / answer["run"] / "config.json").read_text())
    assert code == 0 and config["resources"]["backend"] == "local"
    assert (config["resources"]["hardware"], config["resources"]["timeout_minutes"]) == ("this machine", 5)
    code, _, err = verb("generate", "--processes", "2")
    assert code == 2 and "processes: found 2, expected 1 for a generate run" in err
    assert verb("evaluate", "--backend", "ray")[0] == 2


@pytest.mark.slow
def test_demonstrations_that_were_imported_train_a_policy(verb, tmp_path):
    code, _, err = verb("train", "sft")
    assert code == 1 and "sft: found 0 demonstrations" in err
    lines = [{"prompt": f"Question {n}?", "response": f"Answer {n}.", "split": "train"} for n in range(3)]
    (tmp_path / "shown.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert verb("import", str(tmp_path / "shown.jsonl"), "--campaign", "shown")[1]["demonstrations"] == 3
    code, trained, _ = verb("train", "sft", "--epochs", "1")
    assert code == 0 and (trained["version"], trained["state"]) == ("sft-1", "succeeded")
