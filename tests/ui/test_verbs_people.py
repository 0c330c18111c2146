"""The verb `erase`: somebody is erased from the data folder, and what still holds their answers is told."""

import json

import pytest

from pipeline.services import open_services
from storage import people
from ui.command_line import make_parser, run_verb
from ui.settings import Settings


@pytest.fixture
def settings(tmp_path):
    """A data folder with Ann and Bob in it."""
    made = Settings(data=tmp_path / "data")
    services = open_services(made.data)
    for name in ("Ann", "Bob"):
        people.create_person(services.database, name, "annotator")
    services.close()
    return made


def names(settings) -> list[str]:
    services = open_services(settings.data)
    found = [one.name for one in people.people(services.database)]
    services.close()
    return found


def erase(settings, *arguments: str) -> int:
    return run_verb(make_parser().parse_args(["erase", *arguments, "--json"]), settings)


def test_a_person_is_erased(settings, capsys):
    assert erase(settings, "ann") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["erased"], told["answers"], told["holdings"]["runs"]) == (True, 0, [])
    assert names(settings) == ["Bob"]


def test_the_list_erases_nothing(settings, capsys):
    assert erase(settings, "Ann", "--list") == 0
    assert json.loads(capsys.readouterr().out)["holdings"] == {"runs": [], "versions": [], "backups": []}
    assert names(settings) == ["Ann", "Bob"]


def test_an_unknown_name_is_refused_with_those_there_are(settings, capsys):
    assert erase(settings, "Cem") == 1
    assert "'Ann', 'Bob'" in capsys.readouterr().err
