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


def test_device_sets_become_the_slots_of_the_local_backend():
    settings = Settings.from_environment({"RANKLOOP_DEVICES": "0,1;2,3"})
    assert settings.backends().there["local"].slots() == ("0,1", "2,3")
    with pytest.raises(InvalidSetting, match="RANKLOOP_DEVICES: found 'a', expected sets such as"):
        Settings.from_environment({"RANKLOOP_DEVICES": "a"})


def test_the_hubs_own_token_serves_where_no_other_is_given():
    assert Settings.from_environment({"HF_TOKEN": "hf_1"}).hf_token == "hf_1"
    assert Settings.from_environment({"HF_TOKEN": "hf_1", "RANKLOOP_HF_TOKEN": "hf_2"}).hf_token == "hf_2"
    assert "hf_1" not in repr(Settings(hf_token="hf_1"))


def test_a_ray_cluster_gets_its_token_and_whether_it_installs():
    given = {"RANKLOOP_RAY": "http://head:8265", "RANKLOOP_RAY_STORAGE": "/tmp", "RAY_AUTH_TOKEN": "s3cret"}
    settings = Settings.from_environment({**given, "RANKLOOP_RAY_INSTALL": "yes"})
    ray = settings.backends().there["ray"]
    assert ray.api._http.headers["Authorization"] == "Bearer s3cret" and ray.install
    assert "s3cret" not in repr(settings)
    assert Settings.from_environment({**given, "RANKLOOP_RAY_TOKEN": "other"}).ray_token == "other"
    with pytest.raises(InvalidSetting, match="RANKLOOP_RAY_INSTALL: found 'maybe', expected yes or no"):
        Settings.from_environment({"RANKLOOP_RAY_INSTALL": "maybe"})


def test_a_token_alone_configures_no_backend():
    assert list(Settings.from_environment({"HF_TOKEN": "hf_1"}).backends().there) == ["local"]


@pytest.mark.parametrize(
    "given, missing",
    [
        ({"BACKEND": "hf-jobs"}, "RANKLOOP_HF_BUCKET"),
        ({"HF_BUCKET": "b", "HF_NAMESPACE": "n"}, "RANKLOOP_HF_TOKEN or HF_TOKEN"),
        ({"HF_BUCKET": "b", "HF_TOKEN": "t"}, "RANKLOOP_HF_NAMESPACE"),
        ({"BACKEND": "ray"}, "RANKLOOP_RAY"),
        ({"RAY": "http://head:8265"}, "RANKLOOP_RAY_STORAGE"),
    ],
)
def test_a_backend_configured_by_halves_is_refused(given, missing):
    with pytest.raises(InvalidSetting, match=f"{missing}: found nothing, expected a value, because runs may go to"):
        Settings.from_environment({f"RANKLOOP_{name}": value for name, value in given.items()})
