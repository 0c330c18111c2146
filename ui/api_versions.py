"""Model versions over HTTP: list, take in a base model, and download one as other programs load it."""

from typing import Literal

from fastapi import APIRouter, Security
from fastapi.responses import StreamingResponse
from pydantic import Field

from pipeline.base_models import register
from pipeline.model_card import portable_version
from pipeline.run_directory import RunDirectory
from pipeline.services import location
from storage.records import ModelVersion
from storage.versions import version, versions
from ui.api_base import BEARER, Body, CheckedRoute, Loop, fault, known_campaign, known_run, needs
from ui.downloads import zip_answer

router = APIRouter(route_class=CheckedRoute, tags=["versions"], dependencies=[Security(BEARER)])
LEAD = needs("lead")
ZIP = {200: {"content": {"application/zip": {}}, "description": "The folder as a zip."}}


class BaseModelWish(Body):
    """A folder below the data folder's models/, or a Hub id; without a role its architecture decides."""

    model: str = Field(min_length=1, max_length=500)
    name: str | None = Field(None, max_length=100)
    role: Literal["policy", "reward"] | None = None


def version_view(found: ModelVersion) -> dict:
    names = ("name", "role", "parent", "run_id", "data_hash")
    created = found.created.isoformat() if found.created else None
    return {n: getattr(found, n) for n in names} | {"metrics": dict(found.metrics), "created": created}


@router.get("/versions", openapi_extra=LEAD)
def list_versions(
    services: Loop, role: Literal["policy", "reward"] | None = None, campaign: str | None = None
) -> list[dict]:
    """Model versions with parent, run, data and figures, oldest first."""
    campaign_id = known_campaign(services, campaign).id if campaign is not None else None
    return [version_view(found) for found in versions(services.database, role, campaign_id)]


@router.post("/versions", status_code=201, openapi_extra=LEAD)
def register_base(services: Loop, wish: BaseModelWish) -> dict:
    """Take in a base model as a version that runs can start from; 422 says what no run could load."""
    made, looked = register(services, wish.model, wish.name, wish.role)
    return version_view(made) | {"architecture": looked.architecture, "notes": list(looked.notes)}


@router.get("/versions/{name}/model", openapi_extra=LEAD, response_class=StreamingResponse, responses=ZIP)
def download_version(services: Loop, name: str):
    """A zip of the version in Hugging Face format with its card, an adapter without its base.

    An `export` run with `merged` folds the adapter in, and GET /runs/{run_id}/model gives what it wrote.
    """
    found = version(services.database, name)
    if found is None:
        raise fault(404, "version", name, "the name of a version; GET /versions lists them")
    try:
        return zip_answer(portable_version(services, found), found.name)
    except FileNotFoundError as missing:
        raise fault(409, "version", location(services, found), f"its files: {missing}") from None


@router.get("/runs/{run_id}/model", openapi_extra=LEAD, response_class=StreamingResponse, responses=ZIP)
def download_export(services: Loop, run_id: str):
    """A zip of the folder that an export run wrote; 409 where it wrote none, or the folder was moved away."""
    files = RunDirectory(services.directory(known_run(services, run_id)))
    folder = files.path / ((files.result() or {}).get("export") or "none")
    if not folder.is_dir():
        raise fault(409, "run", run_id, "an export run that has succeeded and still has its folder")
    return zip_answer({path.name: path for path in sorted(folder.iterdir()) if path.is_file()}, run_id)
