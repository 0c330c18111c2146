"""Serve RankLoop, or do one of its verbs: `python app.py --help`.

The composition root: reads the settings from the environment once, opens the data folder, starts the
monitor and the pages, and closes everything again. The only module that reads the environment.
"""

import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence

from pipeline.first_start import FirstStartFailed, InvalidBaseModel, base_path, ensure_started
from pipeline.monitor import Monitor
from pipeline.run_directory import write_json
from pipeline.services import Services, open_services
from storage.connection import DatabaseDamaged
from storage.database import DatabaseInUse, StorageInterrupted
from storage.migrations import SchemaRefused
from ui.command_line import make_parser, run_verb
from ui.settings import InvalidSetting, Settings


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Parse, then serve or do the verb; returns the exit code."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    try:
        settings = Settings.from_environment(environ)
        if settings.base_model != "starter":
            base_path(settings.base_model)
        settings.backends()  # what cannot be used is refused before anything is opened
    except (InvalidSetting, InvalidBaseModel) as error:
        print(f"app.py: {error}", file=sys.stderr)
        return 2
    if options.verb is not None:
        return run_verb(options, settings)
    try:
        return serve(settings)
    except (DatabaseInUse, DatabaseDamaged, SchemaRefused, StorageInterrupted, FirstStartFailed, OSError) as error:
        print(f"app.py: {error}", file=sys.stderr)
        return 1


def serve(settings: Settings) -> int:
    """Serve the pages until SIGTERM or SIGINT; runs go on without us."""
    from ui.workbench import serve as serve_pages  # noqa: PLC0415 - gradio takes 2 s to import; verbs do without it

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    services = open_services(settings.data, settings.base_model, settings.backends())
    monitor = Monitor(services)
    server = None
    try:
        server = serve_pages(services, settings, block=False)
        _announce(services, server)
        ensure_started(services)
        monitor.start()
        stop.wait()
    finally:
        (services.data / "server.json").unlink(missing_ok=True)
        monitor.stop()
        if server is not None:
            server.close()
        services.close()
    return 0


def _announce(services: Services, server) -> None:
    """Say where the pages are, on the terminal and in server.json for the verbs."""
    write_json(services.data / "server.json", {"pid": os.getpid(), "url": server.url})
    for notice in services.database.notices:
        print(notice)
    print(f"RankLoop is at {server.url}")
    print(f"Sign in as admin, once, with this link: {server.sign_in_link}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
