"""The ranking board as one Gradio component: a static skeleton that ranking_board.js fills.

The template holds no placeholder, so Gradio never renders it again, and no model text passes through its
template machine (which would run it as JavaScript). Tasks and answers travel by ui.rank_page's routes. A plain
gr.HTML, not a subclass: Gradio writes a .pyi file beside every module that subclasses a component.
"""

from pathlib import Path

import gradio as gr

STATIC = Path(__file__).parent / "static"
SCRIPTS = ("ranking.js", "ranking_board.js", "ranking_drag.js")  # one function's body: thinks, draws, drags
HEAD = '<link rel="stylesheet" href="vendor/katex/katex.min.css"><script src="vendor/katex/katex.min.js"></script>'


def static_text(name: str) -> str:
    """A file of ui/static."""
    return (STATIC / name).read_text(encoding="utf-8")


def ranking_board() -> gr.HTML:
    """Cards to read, places to rank into, and one button to submit."""
    return gr.HTML(
        html_template=static_text("ranking_board.html"),
        css_template=static_text("ranking_board.css"),
        js_on_load="".join(static_text(name) for name in SCRIPTS),
        head=HEAD,
        apply_default_css=False,
        elem_id="board",
    )
