"""From Enter to the next task on the screen, in Chromium against a server in a process of its own.

    python -m tests.benchmarks.next_task [--submits 30]

The clock starts when the key goes down and stops after the frame that shows the next prompt was painted. Ranks are
given before; the time for that does not count. Prints one JSON object last; exits 1 if an answer was not stored.
"""

import argparse
import json
import os
import shutil
import signal
import statistics
import sys

from playwright.sync_api import Page, sync_playwright

from tests.benchmarks.submit import COMPLETIONS, OurServer, free_port, wait_for
from tests.ui.conftest import chrome

WATCH = """() => {
  window.times = []; let from = 0;
  addEventListener('keydown', (event) => { if (event.key === 'Enter') from = performance.now(); }, true);
  new MutationObserver(() => {
    if (!from) return;
    const started = from, after = new MessageChannel();
    from = 0;
    after.port1.onmessage = () => window.times.push(performance.now() - started);
    requestAnimationFrame(() => after.port2.postMessage(0));
  }).observe(document.querySelector('.talk'), { childList: true });
}"""


def measure(page: Page, url: str, submits: int) -> list[float]:
    """Rank and submit that many tasks; milliseconds each."""
    page.goto(url)
    page.locator(".card").first.wait_for()
    page.evaluate(WATCH)
    for done in range(submits):
        for place in range(1, COMPLETIONS + 1):
            page.keyboard.press(str(place))
        page.locator(".submit[aria-disabled=false]").wait_for()
        page.wait_for_timeout(600)  # a person reads; and Enter right after a task came is taken for a slip
        page.keyboard.press("Enter")
        page.wait_for_function("count => window.times.length === count", arg=done + 1)
    return page.evaluate("window.times")


def main() -> int:
    """Measure, print the figures, and the JSON line last."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--submits", type=int, default=30)
    submits = parser.parse_args().submits
    server, port = OurServer(submits + 3, 1), free_port()
    process, url = server.start(port), f"http://127.0.0.1:{port}"
    try:
        wait_for(url + server.health, process, server.folder)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chrome(), args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            name, _, value = server.headers[0]["Cookie"].partition("=")
            page.context.add_cookies([{"name": name, "value": value, "url": url}])
            times = measure(page, url, submits)
            browser.close()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    stored = server.verdict([])["stored"]
    shutil.rmtree(server.folder, ignore_errors=True)
    cuts = statistics.quantiles(times, n=20, method="inclusive") if len(times) > 1 else times * 19
    figures = {
        "median_ms": round(statistics.median(times), 1),
        "p95_ms": round(cuts[18], 1),
        "max_ms": round(max(times), 1),
    }
    print(f"{submits} submits, {stored} stored; load average {os.getloadavg()[0]:.2f}")
    print(f"from Enter to the next task painted: {figures}")
    print(json.dumps({"name": "next_task", "ratio": None, "ours": figures, "peer": None, "submits": submits}))
    return 0 if stored == submits else 1


if __name__ == "__main__":
    sys.exit(main())
