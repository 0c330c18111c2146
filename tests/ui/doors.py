"""Every door of a running server, found in the app itself: its Gradio handlers and its HTTP routes. Holds no tests."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import gradio as gr
import httpx
from starlette.routing import Mount

STRANGE = "999999"  # stands for ids, names and paths that do not exist
GUARDED = ("needs the role", "Not offered here.", "Sign in first")
REFUSALS = (*GUARDED, "You are signed out", "Sign in, or send an API key")


@dataclass(frozen=True)
class Handler:
    """A Gradio event with a function: its number, its name with its page, and inputs that it takes."""

    number: int
    name: str
    inputs: list


def handlers(demo: gr.Blocks) -> list[Handler]:
    """Every event of every page that runs something on the server."""
    pages = {event: page for page, parts in demo.config["page"].items() for event in parts["dependencies"]}
    return [
        Handler(number, f"/{pages[number]} {name_of(event.fn)}", [start_value(one) for one in event.inputs])
        for number, event in demo.fns.items()
        if event.fn is not None
    ]


def name_of(function) -> str:
    """Module and name of a handler."""
    return f"{function.__module__}.{function.__qualname__}".replace("<locals>.", "")


def start_value(component) -> object:
    """What the browser would send for a form that nobody touched."""
    value = getattr(component, "value", None)
    return None if callable(value) else value


def routes(found, prefix: str = "") -> Iterator[str]:
    """`METHOD /path` of every route, those of mounted apps and included routers too."""
    for route in found:
        if hasattr(route, "original_router"):
            yield from routes(route.original_router.routes, prefix)
        elif isinstance(route, Mount):
            inner = getattr(route, "routes", None) or []
            yield from routes(inner, prefix + route.path) if inner else [f"GET {prefix}{route.path}/*"]
        else:
            for method in sorted(set(route.methods or ()) - {"HEAD"}) or ["HEAD"]:
                yield f"{method} {prefix}{route.path}"


def call_handler(url: str, handler: Handler, headers: dict, session: str) -> httpx.Response:
    """The event by raw HTTP, as no page would send it."""
    body = {"fn_index": handler.number, "data": handler.inputs, "session_hash": session, "event_data": {}}
    return httpx.post(f"{url}/gradio_api/run/predict", json=body, headers=headers, timeout=30)


def call_route(url: str, route: str, headers: dict) -> tuple[int, str]:
    """(status, first words) of a route with made-up parameters and an empty body; streams are not read to their end."""
    method, path = route.split(" ")
    path = re.sub(r"\{[^}]+\}|\*", STRANGE, path)
    query = {"session_hash": STRANGE} if path.endswith(("/queue/data", "/deep_link")) else {}
    body = {} if method in ("GET", "HEAD") else {"json": {}}
    with httpx.stream(method, url + path, headers=headers, params=query, timeout=30, **body) as reply:
        if reply.is_redirect:
            return reply.status_code, reply.headers["location"]
        if "event-stream" in reply.headers.get("content-type", ""):
            return reply.status_code, ""
        return reply.status_code, reply.read()[:300].decode("utf-8", "replace")


def refused(status: int, text: str) -> bool:
    """Whether somebody was turned away for who they are, and not for what they sent."""
    to_sign_in = status == 303 and text.startswith("/login")
    return status == 401 or to_sign_in or (status >= 400 and any(words in text for words in REFUSALS))
