"""The lead's part of the HTTP API: files in and out, report, the current policy.

Campaigns are in api_campaigns.py, their tasks in api_tasks.py, the quality of answers in api_quality.py, model
versions in api_versions.py.
"""

import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import Annotated, Literal

from fastapi import APIRouter, Form, Security, UploadFile
from fastapi.responses import FileResponse, JSONResponse
from pydantic import Field
from starlette.background import BackgroundTask

from pipeline.export import EXPORTS
from pipeline.report import report
from storage.campaigns import policy_history, set_policy
from storage.interchange import import_file
from storage.versions import version
from ui.api_base import BEARER, IMPORT_LIMIT, Body, CheckedRoute, Loop, Who, fault, known_campaign, needs

router = APIRouter(route_class=CheckedRoute, tags=["leads"], dependencies=[Security(BEARER)])
LEAD = needs("lead")
Name = Annotated[str, Field(min_length=1, max_length=200)]


class Promotion(Body):
    version: Name
    reason: str = Field("", max_length=2000)


@router.get("/campaigns/{campaign}/policy", openapi_extra=LEAD)
def read_policy(services: Loop, campaign: str) -> dict:
    """The campaign's current policy and how it came to be, newest last."""
    found = known_campaign(services, campaign)
    return {"policy": found.policy, "history": _history(services, found.id)}


def _history(services: Loop, campaign_id: int) -> list[dict]:
    rows = policy_history(services.database, campaign_id)
    return [{"version": v, "by": by, "reason": reason, "when": str(when)} for v, by, reason, when in rows]


@router.post("/campaigns/{campaign}/policy", openapi_extra=LEAD)
def promote(services: Loop, who: Who, campaign: str, wish: Promotion) -> dict:
    """Make a policy version the campaign's current policy; an earlier one rolls back."""
    found = known_campaign(services, campaign)
    chosen = version(services.database, wish.version)
    if chosen is None or chosen.role != "policy":
        raise fault(404, "version", wish.version, "the name of a policy version; GET /versions lists them")
    set_policy(services.database, found.id, chosen.name, who.id, wish.reason)
    return {"policy": chosen.name, "history": _history(services, found.id)}


@router.get("/report", openapi_extra=LEAD)
def read_report(services: Loop, campaign: str | None = None) -> dict:
    """Counts, agreement and strengths per campaign."""
    name = known_campaign(services, campaign).name if campaign is not None else None
    return report(services.database, name)


@router.post("/imports", openapi_extra=needs("lead", IMPORT_LIMIT))
def import_records(
    services: Loop,
    file: UploadFile,
    campaign: Annotated[str | None, Form(max_length=200)] = None,
    with_annotations: Annotated[bool, Form()] = False,
):
    """Take in a file of records (JSON Lines, CSV or Parquet, by its name). 422 where nothing was taken."""
    name = Path(file.filename or "upload.jsonl").name
    with tempfile.TemporaryDirectory(prefix="rankloop-import-") as folder:
        path = Path(folder) / f"upload{Path(name).suffix}"
        with path.open("wb") as copy:
            shutil.copyfileobj(file.file, copy)
        told = import_file(services.database, services.pool, path, campaign, with_annotations, filename=name)
    return JSONResponse(told.as_json(), 200 if told.succeeded else 422)


@router.get("/exports/{form}", openapi_extra=LEAD, response_class=FileResponse)
def export(services: Loop, form: Literal["trl", "kto", "sft", "csv", "raw"], campaign: str | None = None):
    """A zip of files. `trl`: prompt, chosen, rejected, and margin where people graded; `kto`: prompt, completion,
    label from thumbs; `sft`: demonstrations and edited answers; `csv`: for a spreadsheet; `raw`: every table."""
    campaign_id = known_campaign(services, campaign).id if campaign is not None else None
    folder = Path(tempfile.mkdtemp(prefix="rankloop-export-"))
    forget = BackgroundTask(shutil.rmtree, folder, ignore_errors=True)
    return FileResponse(export_zip(services, folder, form, campaign_id), filename=f"{form}.zip", background=forget)


def export_zip(services: Loop, folder: Path, form: str, campaign_id: int | None) -> Path:
    """Write the export and one zip of it into the folder; returns the zip. Parquet is compressed already."""
    written, archive = folder / form, folder / f"rankloop-{form}.zip"
    written.mkdir()
    EXPORTS[form](services.database, written, campaign_id)
    way = zipfile.ZIP_DEFLATED if form == "csv" else zipfile.ZIP_STORED
    with zipfile.ZipFile(archive, "w", way) as packed:
        for path in sorted(p for p in written.rglob("*") if p.is_file()):
            packed.write(path, path.relative_to(written))
    return archive
