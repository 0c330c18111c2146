"""The page My work: what an annotator has answered, how fast, and what is left; revise, withdraw, hand tasks back.

One static gr.HTML that work.js fills by ui/own_work.py's routes: no text of a model or a person passes through
Gradio's templates, and none enters the page but as text.
"""

import gradio as gr

from pipeline.services import Services
from ui.auth import Auth
from ui.components import asset


def build(services: Services, auth: Auth) -> None:
    """The page inside its route; its calls ask who it is themselves."""
    gr.HTML(
        html_template=asset("work.html"),
        css_template=asset("work.css"),
        js_on_load=asset("work.js"),
        apply_default_css=False,
        elem_id="work",
    )
