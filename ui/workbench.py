"""All pages in one Gradio app, and the server that carries them.

Gathers the pages, the plain routes and the guard; decides nothing about any of them. `launch` rather than a
mounted app, because hosted GPU Spaces hook into it; server-side rendering is always off, because it would
answer page requests before our guard sees them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import gradio as gr
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from pipeline.services import Services
from ui import (
    account,
    api,
    backends_page,
    campaigns_page,
    leaderboard_page,
    navigation,
    offline_board,
    people_page,
    preview_page,
    rank_page,
    runs_page,
    sign_in,
    theme,
    work_page,
)
from ui.answering import Desk
from ui.auth import Auth, secret_of
from ui.guard import Guard, same_origin_only
from ui.hub_sign_in import HubSignIn
from ui.settings import Settings

LARGEST_BODY = 8 * 1024**3  # bytes of an import; everything else is held to far less by the guard
PREVIEW = "preview"  # a page that no bar lists: the Campaigns page links to it
PAGES = {
    "work": work_page.build,
    "campaigns": campaigns_page.build,
    "runs": runs_page.build,
    "backends": backends_page.build,
    "leaderboard": leaderboard_page.build,
    "people": people_page.build,
}


@dataclass
class Server:
    """A running server: where it is, the link that signs its operator in once, and how to end it."""

    url: str
    sign_in_link: str
    demo: gr.Blocks
    auth: Auth

    def wait(self) -> None:
        """Return when the server is closed or interrupted."""
        self.demo.block_thread()

    def close(self) -> None:
        """Stop answering."""
        self.demo.close(verbose=False)


def build(services: Services, auth: Auth) -> gr.Blocks:
    """Every page, each under the bar."""
    with gr.Blocks(title="RankLoop", fill_width=True, analytics_enabled=False) as demo:
        navigation.build(demo, auth, "")
        rank_page.build(services, auth)
    for path, title, _role in navigation.PAGES[1:]:
        with demo.route(title, f"/{path}", show_in_navbar=False):
            navigation.build(demo, auth, path)
            PAGES[path](services, auth)
    with demo.route("Preview", f"/{PREVIEW}", show_in_navbar=False):
        navigation.build(demo, auth, "campaigns")
        preview_page.build(services, auth)
    return demo


def routes(services: Services, auth: Auth, hub: HubSignIn | None = None) -> list[BaseRoute]:
    """What is answered beside the pages. hub: signing in with Hugging Face, where it is offered."""
    desk = Desk(services)
    return [
        Route("/healthz", healthz),
        Mount("/vendor", StaticFiles(directory=theme.STATIC / "vendor")),
        *sign_in.routes(auth, with_hub=hub is not None),
        *(hub.routes() if hub else ()),
        *account.routes(auth),
        *rank_page.routes(services, auth, desk),
        *offline_board.routes(auth),
        *preview_page.routes(auth, desk),
        *api.routes(services, auth, desk),
    ]


async def healthz(_request: Request) -> Response:
    """Says that the server answers."""
    return JSONResponse({"ok": True})


def serve(
    services: Services, settings: Settings, block: bool = True, ready: Callable[[Server], None] | None = None
) -> Server:
    """Serve the workbench at the settings' host and port; `ready` is told when it answers. With block, return
    only when it is closed. Raises OSError where the port is taken."""
    auth = Auth(services, secret_of(services.data, settings.secret), settings.url, framed=bool(settings.space))
    hub = HubSignIn(auth, settings.hub_app, settings.hub_roles) if settings.hub_app else None
    demo = build(services, auth)
    demo.queue(default_concurrency_limit=None)
    guard = Middleware(Guard, auth=auth, pages=navigation.ROLES | {PREVIEW: "lead"})
    demo.launch(
        server_name=settings.host,
        server_port=settings.port,
        auth_dependency=auth.username,
        app_kwargs={
            "routes": routes(services, auth, hub),
            "middleware": [guard],
            "max_body_size": LARGEST_BODY,
            "lifespan": same_origin_only,
        },
        ssr_mode=False,
        share=False,
        prevent_thread_lock=True,
        quiet=True,
        show_error=False,
        enable_monitoring=False,
        run_history=False,
        footer_links=[],
        favicon_path=theme.FAVICON,
        theme=theme.theme(),
        css=theme.CSS,
    )
    url = (settings.url or demo.local_url).rstrip("/")
    server = Server(url, auth.one_time_link(url), demo, auth)
    if ready:
        ready(server)
    if block:
        server.wait()
    return server
