"""The app without its pages, for `tests/chaos.py`: services, monitor, and a few routes over HTTP. Starts in seconds.

    RANKLOOP_DATA=… RANKLOOP_PORT=… python -m tests.chaos_app

Launching, following, resuming and registering are the product's own code; only gradio is left out.
"""

import json
import os
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from pipeline import run_life
from pipeline.first_start import ensure_started
from pipeline.launch import launch
from pipeline.monitor import Monitor
from pipeline.services import Services, open_services
from storage import campaigns, runs
from ui.run_view import curve_rows, summary


def handler(services: Services) -> type[BaseHTTPRequestHandler]:
    """Answers the routes that the chaos script uses, as `ui/api_runs.py` does."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            run_id = self.path.split("/")[-2]
            if self.path.endswith("/metrics"):
                return self.reply(200, curve_rows(services, run_id))
            return self.reply(200, [summary(services, run) for run in runs.runs(services.database)])

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)) or "{}")
            try:
                return self.reply(201, summary(services, self.changed(body)))
            except runs.NotResumable as error:
                return self.reply(409, {"error": str(error)})

        def changed(self, body: dict):
            if self.path.endswith("/resume"):
                return run_life.resume(services, runs.run(services.database, self.path.split("/")[-2]))
            campaign = campaigns.campaign_by_name(services.database, body["campaign"])
            return launch(services, body["kind"], campaign.id, body["options"])

        def reply(self, status: int, value: object) -> None:
            text = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_):
            """Nothing: the client tells."""

    return Handler


def main() -> int:
    """As app.py: serve until SIGTERM, follow runs meanwhile."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    services = open_services(Path(os.environ["RANKLOOP_DATA"]), os.environ["RANKLOOP_BASE_MODEL"])
    monitor = Monitor(services)
    server = ThreadingHTTPServer(("127.0.0.1", int(os.environ["RANKLOOP_PORT"])), handler(services))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    ensure_started(services)
    monitor.start()
    stop.wait()
    monitor.stop()
    server.shutdown()
    services.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
