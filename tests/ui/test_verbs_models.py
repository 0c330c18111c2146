"""The verbs about models: a base taken in from any folder, a version written for other programs."""

import json

import pytest

import app
from pipeline.configs import MODULES
from tests.pipeline.conftest import save_tiny
from tests.pipeline.small_campaign import FAKE


@pytest.fixture
def verb(tmp_path, monkeypatch, capsys):
    """Runs a verb with --json on one folder with fake jobs; returns (exit code, answer, stderr)."""
    monkeypatch.setitem(MODULES, "export", FAKE)
    monkeypatch.setattr("ui.verbs_runs.POLL_SECONDS", 0.02)

    def run(*words):
        code = app.main([*map(str, words), "--json"], {"RANKLOOP_DATA": str(tmp_path / "data")})
        said = capsys.readouterr()
        return code, json.loads(said.out) if said.out.strip() else None, said.err

    return run


def test_a_base_model_is_registered_once(verb, tmp_path):
    folder = save_tiny(tmp_path / "tiny")
    code, taken, _ = verb("register", folder, "--name", "mine")
    assert code == 0 and (taken["version"], taken["role"], taken["path"]) == ("mine", "policy", str(folder))
    assert (taken["architecture"], taken["notes"]) == ("LlamaForCausalLM", []) and taken["parameters"] > 10_000
    code, answer, err = verb("register", folder)
    assert (code, answer) == (1, None) and "registered already as mine" in err
    assert "no config.json" in verb("register", tmp_path)[2]


def test_a_version_is_written_into_an_empty_folder(verb, tmp_path):
    verb("register", save_tiny(tmp_path / "tiny"), "--name", "mine")
    code, written, _ = verb("export-model", "mine", tmp_path / "out", "--merged")
    assert code == 0 and (written["folder"], written["merged"], written["url"]) == (str(tmp_path / "out"), True, None)
    assert "# mine" in (tmp_path / "out" / "README.md").read_text()
    code, _, err = verb("export-model", "mine", tmp_path / "out")
    assert code == 1 and "expected a new or an empty folder" in err
    assert "no version of that name" in verb("export-model", "yours", tmp_path / "other")[2]


def test_a_wrong_repository_is_wrong_usage(verb, tmp_path):
    verb("register", save_tiny(tmp_path / "tiny"), "--name", "mine")
    code, _, err = verb("export-model", "mine", tmp_path / "out", "--push-to", "no repository")
    assert code == 2 and "a Hub id, owner/name" in err and not (tmp_path / "out").exists()
