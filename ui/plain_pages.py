"""The look of the small pages beside the workbench: a card with forms, no Gradio and no scripts."""

import html
from pathlib import Path

from starlette.responses import HTMLResponse

STATIC = Path(__file__).parent / "static"
PAGE = (STATIC / "sign_in.html").read_text(encoding="utf-8")


def page(title: str, body: str, status: int = 200, wide: bool = False) -> HTMLResponse:
    """One small page. `body` is markup made here."""
    content = PAGE.replace("[title]", html.escape(title)).replace("[width]", "wide" if wide else "narrow")
    return HTMLResponse(content.replace("[body]", body), status, headers={"cache-control": "no-store"})


def refusal(title: str, problem: str, status: int) -> HTMLResponse:
    """A page that only says what is wrong, with a way back."""
    return page(title, f'{alert(problem)}<p class="hint"><a href="/login">To the sign-in page</a></p>', status)


def alert(text: str) -> str:
    """A problem, said to readers and screen readers."""
    return f'<p class="wrong" role="alert">{html.escape(text)}</p>' if text else ""


def done(text: str) -> str:
    """Something that worked."""
    return f'<p class="done" role="status">{html.escape(text)}</p>' if text else ""


def local_path(wanted: str) -> str:
    """A path of this site, or "/": a link to the sign-in page must not lead elsewhere afterwards."""
    safe = wanted.startswith("/") and not wanted.startswith("//") and "\\" not in wanted and wanted.isprintable()
    return wanted if safe else "/"
