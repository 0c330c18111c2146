"""Versions over HTTP: a base model taken in, a version's folder as a zip."""

import io
import json
import shutil
import zipfile

import pytest

from pipeline.base_models import MODELS
from pipeline.run_directory import RunDirectory
from storage import versions
from storage.records import ModelVersion
from tests.pipeline.conftest import save_tiny
from tests.ui.leads import new_run
from tests.ui.test_api import Loop


@pytest.fixture
def loop(tmp_path):
    made = Loop(tmp_path)
    save_tiny(tmp_path / MODELS / "tiny")
    yield made
    made.services.close()


def unpacked(answer) -> zipfile.ZipFile:
    assert answer.status_code == 200 and answer.headers["content-type"] == "application/zip"
    return zipfile.ZipFile(io.BytesIO(answer.content))


def test_a_base_model_is_taken_in_once(loop):
    wish = {"model": str(loop.services.data / MODELS / "tiny"), "name": "mine"}
    answer = loop.client("lead").post("/versions", json=wish)
    assert answer.status_code == 201 and answer.json()["role"] == "policy"
    assert answer.json()["metrics"]["parameters"] > 10_000 and answer.json()["notes"] == []
    again = loop.client("lead").post("/versions", json=wish)
    assert again.status_code == 422 and "registered already as mine" in again.json()["error"]["message"]


def test_a_folder_elsewhere_and_a_taken_name_are_refused(loop):
    refused = loop.client("lead").post("/versions", json={"model": "/etc"})
    assert refused.status_code == 422 and "a folder below" in refused.json()["error"]["expected"]
    versions.register_version(loop.database, ModelVersion("mine", "policy", "owner/mine"))
    wish = {"model": str(loop.services.data / MODELS / "tiny"), "name": "mine"}
    assert loop.client("lead").post("/versions", json=wish).status_code == 409


def test_a_version_is_a_zip_of_its_folder_with_its_card(loop):
    folder = loop.services.data / MODELS / "tiny"
    versions.register_version(loop.database, ModelVersion("mine", "policy", str(folder)))
    packed = unpacked(loop.client("lead").get("/versions/mine/model"))
    assert packed.testzip() is None and {name.split("/")[0] for name in packed.namelist()} == {"mine"}
    assert packed.read("mine/model.safetensors") == (folder / "model.safetensors").read_bytes()
    assert json.loads(packed.read("mine/config.json"))["model_type"] == "llama"
    assert "# mine" in packed.read("mine/README.md").decode()
    assert loop.client("lead").get("/versions/yours/model").status_code == 404


def test_a_version_that_is_not_here_says_so(loop):
    versions.register_version(loop.database, ModelVersion("gone", "policy", str(loop.services.data / "gone")))
    refused = loop.client("lead").get("/versions/gone/model")
    assert refused.status_code == 422 and "a folder on this machine" in refused.json()["error"]["message"]


def test_what_an_export_run_wrote_is_a_zip_until_it_is_moved_away(loop):
    run = new_run(loop.services, "export")
    files = RunDirectory(loop.services.directory(run))
    assert loop.client("lead").get(f"/runs/{run.id}/model").status_code == 409
    (files.artifacts / "export").mkdir(parents=True)
    (files.artifacts / "export" / "README.md").write_text("# mine")
    files.finish({"export": "artifacts/export"})
    assert unpacked(loop.client("lead").get(f"/runs/{run.id}/model")).read(f"{run.id}/README.md") == b"# mine"
    assert loop.client("lead").get(f"/runs/{run.id}").json()["download"] == f"api/v1/runs/{run.id}/model"
    shutil.rmtree(files.artifacts)
    assert loop.client("lead").get(f"/runs/{run.id}/model").status_code == 409
    assert loop.client("lead").get(f"/runs/{run.id}").json()["download"] is None


@pytest.mark.parametrize("role", ["annotator", "reviewer"])
def test_models_are_for_leads(loop, role):
    assert loop.client(role).get("/versions/mine/model").status_code == 403
    assert loop.client(role).post("/versions", json={"model": "owner/name"}).status_code == 403
