"""A short run of `kill_app.py`: what the server acknowledged survives kill -9, once."""

import pytest

from tests.kill_app import kill_repeatedly


@pytest.mark.slow
def test_acknowledged_rankings_survive_kill_9_once(tmp_path):
    result = kill_repeatedly(rounds=3, folder=tmp_path / "data")
    assert result["acknowledged"] > 0
    assert (result["lost"], result["stored_twice"], result["over_overlap"]) == (0, 0, 0)
    assert result["refused"] == []
