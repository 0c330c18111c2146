"""Settings: defaults, texts from the environment, and refusals that name the variable."""

from pathlib import Path

import pytest

from ui.settings import InvalidSetting, Settings


def test_an_empty_environment_gives_the_defaults():
    assert Settings.from_environment({"RANKLOOP_PORT": " ", "PATH": "/bin"}) == Settings()


def test_variables_are_read_by_their_names():
    given = {"RANKLOOP_DATA": "/tmp/x", "RANKLOOP_PORT": "8080", "RANKLOOP_HOST": "0.0.0.0", "RANKLOOP_SECRET": "s"}
    assert Settings.from_environment(given) == Settings(Path("/tmp/x"), "0.0.0.0", 8080, secret="s")
    assert Settings.variables()[:3] == ["RANKLOOP_DATA", "RANKLOOP_HOST", "RANKLOOP_PORT"]


@pytest.mark.parametrize("name, value", [("PORT", "http"), ("PORT", "0"), ("PORT", "70000"), ("BACKEND", "slurm")])
def test_a_wrong_value_is_refused_by_name(name, value):
    with pytest.raises(InvalidSetting, match=f"RANKLOOP_{name}: found .*{value}.*expected"):
        Settings.from_environment({f"RANKLOOP_{name}": value})


def test_on_a_space_it_listens_on_every_address_and_names_the_spaces_own():
    settings = Settings.from_environment({"SPACE_ID": "team/loop", "SPACE_HOST": "team-loop.hf.space"})
    assert (settings.host, settings.url) == ("0.0.0.0", "https://team-loop.hf.space")
    assert Settings.from_environment({"SPACE_ID": "team/loop", "RANKLOOP_HOST": "::1"}).host == "::1"
