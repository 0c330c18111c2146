"""Data in and out of a campaign: prompts written by hand, files taken in, exports as links.

Handlers are plain functions. Prompts written by hand go the way of an import, so that both obey the same rules. Export
links go to the HTTP API, which checks the cookie again.
"""

import io
import json
from pathlib import Path
from urllib.parse import quote

import gradio as gr

from pipeline.export import MEANINGS
from pipeline.services import Services
from storage.campaigns import campaign, campaign_by_name
from storage.interchange import import_file
from storage.records import InvalidRecord
from ui.auth import Auth
from ui.charts import escape, wrap
from ui.components import ONCE, SLOW, Panel, action
from ui.import_cards import import_report
from ui.said import error

IMPORT_HELP = (
    "JSON Lines, CSV or Parquet with the columns prompt or messages, and completions with model and text. Preference "
    "pairs (prompt, chosen, rejected), demonstrations, and known answers (check) are taken in too. An id that another "
    "campaign gave to another prompt is kept apart by itself."
)
BETWEEN = "---"  # a line of its own between prompts, and between completions
SUFFIXES = [".jsonl", ".ndjson", ".json", ".csv", ".parquet"]


# ---- handlers


def open_data(services: Services, auth: Auth, campaign_id: int | None, request: gr.Request):
    """The export links of the chosen campaign."""
    auth.require(request, "lead")
    return exports(services, campaign_id)


def add_prompts(
    services: Services,
    auth: Auth,
    campaign_id: int | None,
    system: str,
    prompts: str,
    completions: str,
    model: str,
    request: gr.Request,
):
    """Take in what was typed: prompts, or one prompt with its completions. Returns said, and the emptied fields."""
    auth.require(request, "lead")
    found = campaign(services.database, campaign_id or 0)
    if found is None:
        return error("Choose a campaign first."), gr.skip(), gr.skip()
    try:
        lines = typed_records(system, prompts, completions, model)
        file = io.BytesIO("\n".join(json.dumps(line) for line in lines).encode())
        told = import_file(services.database, services.pool, file, found.name, filename="by hand.jsonl")
    except (InvalidRecord, ValueError) as wrong:
        return error(wrong), gr.skip(), gr.skip()
    kept = (gr.skip(), gr.skip()) if told.refused else ("", "")
    return import_report(told.as_json()), *kept


def typed_records(system: str, prompts: str, completions: str, model: str) -> list[dict]:
    """Import records of what was typed. Raises InvalidRecord without a prompt, and for completions of several."""
    asked, said = parts(prompts), parts(completions)
    if not asked:
        raise InvalidRecord("prompts", "nothing", "at least one prompt")
    if said and len(asked) > 1:
        raise InvalidRecord(
            "completions", f"completions beside {len(asked)} prompts", "one prompt with its completions"
        )
    turns = [{"role": "system", "content": system.strip()}] if system.strip() else []
    rows = [{"model": model.strip() or "by hand", "text": text} for text in said]
    return [
        {"messages": [*turns, {"role": "user", "content": text}], **({"completions": rows} if rows else {})}
        for text in asked
    ]


def parts(text: str) -> list[str]:
    """The pieces of a text between lines of ---, without empty ones."""
    pieces, piece = [], []
    for line in [*str(text or "").splitlines(), BETWEEN]:
        if line.strip() == BETWEEN:
            pieces.append("\n".join(piece).strip())
            piece = []
        else:
            piece.append(line)
    return [one for one in pieces if one]


def import_upload(
    services: Services,
    auth: Auth,
    path: str | None,
    name: str | None,
    with_annotations: bool,
    request: gr.Request,
    progress: gr.Progress = gr.Progress(),  # noqa: B008 — gradio finds it by its default value
):
    """Take in an uploaded file, say what came in and what was refused, and forget the upload."""
    auth.require(request, "lead")
    if not path:
        return error("Choose a file first."), gr.skip()
    file, name = Path(path), (name or "").strip() or None
    try:
        told = import_file(
            services.database, services.pool, file, name, with_annotations, filename=file.name, progress=_told(progress)
        )
    except (InvalidRecord, ValueError) as wrong:
        return error(wrong), gr.skip()
    finally:
        file.unlink(missing_ok=True)
    return import_report(told.as_json()), None


def import_here(
    services: Services,
    auth: Auth,
    campaign_id: int | None,
    path: str | None,
    with_annotations: bool,
    request: gr.Request,
    progress: gr.Progress = gr.Progress(),  # noqa: B008 — gradio finds it by its default value
):
    """The same into the chosen campaign."""
    auth.require(request, "lead")
    found = campaign(services.database, campaign_id or 0)
    if found is None:
        return error("Choose a campaign first."), gr.skip()
    return import_upload(services, auth, path, found.name, with_annotations, request, progress)


def _told(progress):
    """gradio's progress as the importer reports it: bytes done and in all, 0 where that is not known."""

    def tell(done: int, total: int) -> None:
        progress(done / total if total else None, desc="reading")

    return tell


def exports(services: Services, campaign_id: int | None) -> str:
    """A link for each form of export, with what it holds."""
    found = campaign(services.database, campaign_id or 0)
    if found is None:
        return ""
    name = quote(found.name, safe="") if campaign_by_name(services.database, found.name) else str(found.id)
    rows = "".join(
        f'<div class="row"><a class="button" href="api/v1/exports/{form}?campaign={escape(name)}" download>'
        f'{escape(form.upper())}</a><span class="grow">{escape(words)}</span></div>'
        for form, words in MEANINGS.items()
    )
    return wrap(f'<div class="card"><h3>Export</h3><div class="list">{rows}</div></div>')


# ---- layout


def build(on, chosen: gr.State) -> tuple[list, list]:
    """The inputs and outputs of `open_data`."""
    with gr.Accordion("Add prompts by hand", open=True, elem_id="by-hand"):
        with gr.Row(equal_height=False):
            with gr.Column(min_width=320):
                system = gr.Textbox(label="System message", info="optional", lines=2, max_length=50_000)
                prompts = gr.Textbox(
                    label="Prompts", info=f"several: a line {BETWEEN} between them", lines=6, elem_id="hand-prompts"
                )
            with gr.Column(min_width=320):
                model = gr.Textbox("by hand", label="Written by", info="model or person", max_length=200)
                completions = gr.Textbox(
                    label="Completions",
                    info=f"optional, of one prompt; a line {BETWEEN} between them",
                    lines=6,
                    elem_id="hand-completions",
                )
        put, said = action("Add", "hand-button"), Panel(elem_id="hand-said")
    with gr.Accordion("Import a file into this campaign", open=False, elem_id="import-here"):
        file, annotations, take, report = import_form("here")
    links = Panel(elem_id="exports")
    put.click(on(add_prompts), [chosen, system, prompts, completions, model], [said, prompts, completions], **ONCE)
    take.click(on(import_here), [chosen, file, annotations], [report, file], **SLOW)
    return [chosen], [links]


def import_form(name: str) -> tuple:
    """File, whether annotations come in, the button, and the report."""
    file = gr.File(label="File", file_types=SUFFIXES, type="filepath", height=140, elem_id=f"{name}-file")
    annotations = gr.Checkbox(False, label="With annotations", info="take in the rankings of its annotators too")
    gr.Markdown(IMPORT_HELP, elem_classes="muted")
    take = action("Import", f"{name}-button")
    return file, annotations, take, Panel(elem_id=f"{name}-report")
