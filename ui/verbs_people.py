"""The verb about people: erase."""

import argparse

from pipeline.holdings import holdings
from storage import erasure
from storage.people import people, person_by_name
from ui.settings import Settings
from ui.verb import Outcome, Refused, opened


def erase(options: argparse.Namespace, settings: Settings) -> Outcome:
    """Rewrite database and journal without a person; tell what still holds their answers."""
    with opened(settings) as services:
        found = person_by_name(services.database, options.name)
        if found is None:
            there = ", ".join(repr(one.name) for one in people(services.database)[:20]) or "nobody"
            raise Refused(f"NAME: found nobody called {options.name!r}, expected one of: {there}")
        held = holdings(services, found.id)
        if options.list:
            return Outcome({"person": found.name, "holdings": held}, _told(held))
        done = erasure.erase(services.database, found.id, options.keep_answers)
    answer = {"erased": True, "answers": done.answers, "kept_as": done.kept_as, "holdings": held}
    kept = f"kept as {done.kept_as}" if done.kept_as else "erased, too"
    return Outcome(answer, f"The person is erased; {done.answers} answers: {kept}.\n{_told(held)}")


def _told(held: dict) -> str:
    lines = [f"  run {one['run']} ({one['kind']})  {one['directory']}" for one in held["runs"]]
    lines += [f"  version {one['version']} (learned {one['how']})  {one['path']}" for one in held["versions"]]
    lines += [f"  backup {one['path']}{'' if one['there'] else ' (not there any more)'}" for one in held["backups"]]
    return "\n".join(["What holds the answers:", *lines] if lines else ["No run, version or backup holds the answers."])
