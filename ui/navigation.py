"""The bar on top of every page: the mark, the pages this person may open, their name, light or dark.

It draws what `bar_for` says and guards nothing: ui.guard refuses pages, ui.auth refuses handlers.
"""

from pathlib import Path

import gradio as gr

from storage.records import Person
from ui.auth import Auth

STATIC = Path(__file__).parent / "static"
PAGES = (  # path, title, the role it needs
    ("", "Rank", "annotator"),
    ("work", "My work", "annotator"),
    ("campaigns", "Campaigns", "lead"),
    ("runs", "Runs", "lead"),
    ("backends", "Backends", "lead"),
    ("leaderboard", "Leaderboard", "reviewer"),
    ("people", "People", "lead"),
)
ROLES = {path: role for path, _title, role in PAGES}
FAST = {"queue": False, "concurrency_limit": None, "show_progress": "hidden", "api_visibility": "private"}


def top_bar(active: str) -> gr.HTML:
    """A static bar, filled in the browser with what `bar_for` gives."""
    title = next(title for path, title, _role in PAGES if path == active)
    template = (STATIC / "navigation.html").read_text(encoding="utf-8").replace("[title]", title)
    return gr.HTML(
        html_template=template.replace("[active]", active),
        css_template=(STATIC / "navigation.css").read_text(encoding="utf-8"),
        js_on_load=(STATIC / "navigation.js").read_text(encoding="utf-8"),
        apply_default_css=False,
        elem_id="topbar",
    )


def bar_for(person: Person) -> dict:
    """What the bar shows to this person: {"pages": [[path, title], …], "name", "role"}."""
    pages = [[path, title] for path, title, role in PAGES if person.may(role)]
    return {"pages": pages, "name": person.name, "role": person.role}


def build(demo: gr.Blocks, auth: Auth, active: str) -> None:
    """The bar on the page `active`, called inside that page; theme.css hides Gradio's own."""
    bar = top_bar(active)

    def on_load(request: gr.Request) -> dict:
        return bar_for(auth.require(request, ROLES[active]))

    demo.load(on_load, None, bar, **FAST)
