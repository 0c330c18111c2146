"""The ranking board as one Gradio component: a static skeleton that the scripts below fill.

The template holds no placeholder, so Gradio never renders it again, and no model text passes through its
template machine (which would run it as JavaScript). Tasks and answers travel by ui.rank_page's routes. A plain
gr.HTML, not a subclass: Gradio writes a .pyi file beside every module that subclasses a component.
"""

from collections.abc import Sequence
from pathlib import Path

import gradio as gr

STATIC = Path(__file__).parent / "static"
SCRIPTS = (  # one function's body: thinks, sends, draws, listens; the last file starts it
    "answer.js",
    "answer_sent.js",
    "answer_keys.js",
    "differences.js",
    "outbox.js",
    "tabs.js",
    "sending.js",
    "offline.js",
    "ranking_base.js",
    "ranking_cards.js",
    "ranking_forms.js",
    "ranking_beside.js",
    "ranking_reading.js",
    "ranking_help.js",
    "ranking_states.js",
    "ranking_board.js",
    "ranking_events.js",
    "ranking_drag.js",
)
STYLES = ("ranking_board.css", "ranking_forms.css", "ranking_panels.css", "ranking_small.css")
HEAD = '<link rel="stylesheet" href="vendor/katex/katex.min.css"><script src="vendor/katex/katex.min.js"></script>'


def static_text(name: str) -> str:
    """A file of ui/static."""
    return (STATIC / name).read_text(encoding="utf-8")


def ranking_board(scripts: Sequence[str] = SCRIPTS) -> gr.HTML:
    """Cards to read, places to rank into, and one button to submit; scripts other than SCRIPTS make a preview."""
    return gr.HTML(
        html_template=static_text("ranking_board.html"),
        css_template="\n".join(static_text(name) for name in STYLES),
        js_on_load="\n".join(static_text(name) for name in scripts),
        head=HEAD,
        apply_default_css=False,
        elem_id="board",
    )
