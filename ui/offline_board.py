"""The board without the rest of the workbench: what a browser keeps to show when the page is loaded while the server
is away. Program files only, the same for everybody; tasks and answers are kept by static/sending.js, by person.
"""

from functools import cache

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Route

from ui.auth import Auth
from ui.ranking_board import SCRIPTS, STATIC, STYLES, static_text
from ui.theme import CSS


@cache
def page() -> str:
    """The whole page as HTML. Raises ValueError where a script would end the element that carries it."""
    scripts = "\n".join(static_text(name) for name in SCRIPTS)
    if "</script" in scripts.lower():
        raise ValueError("a script of the board holds '</script', which would end it; write '<\\/script'")
    parts = {
        "[[global]]": CSS,
        "[[styles]]": "\n".join(static_text(name) for name in STYLES),
        "[[board]]": static_text("ranking_board.html"),
        "[[scripts]]": scripts,
    }
    text = static_text("offline_board.html")
    for mark, part in parts.items():
        text = text.replace(mark, part, 1)
    return text


def routes(auth: Auth) -> list[Route]:
    """The page, for a browser to keep, and the service worker that shows it."""

    async def board(request: Request) -> Response:
        await run_in_threadpool(auth.require_http, request, "annotator")
        return HTMLResponse(page(), headers={"cache-control": "no-cache"})

    async def worker(request: Request) -> Response:
        await run_in_threadpool(auth.require_http, request, "annotator")
        headers = {"cache-control": "no-cache"}
        return FileResponse(STATIC / "board_worker.js", media_type="text/javascript", headers=headers)

    return [Route("/rank/board", board), Route("/board_worker.js", worker)]
