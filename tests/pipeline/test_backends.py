"""Which backends the settings make."""

import sys
from pathlib import Path

import pytest

from pipeline.backends import NotConfigured, configured

ROOT = Path("/somewhere")


def test_the_local_backend_is_always_there_with_a_slot_per_device_set():
    backends = configured(ROOT, devices=("0,1", "2,3"))
    assert list(backends.there) == ["local"] and backends.usual == "local"
    assert backends.there["local"].slots() == ("0,1", "2,3")


def test_a_usual_backend_without_its_settings_is_refused():
    with pytest.raises(NotConfigured, match="found 'ray' without its settings, expected one of local"):
        configured(ROOT, "ray")


def test_a_driver_that_is_not_configured_is_not_imported():
    before = set(sys.modules)
    configured(ROOT)
    assert not {"ray", "huggingface_hub"} & (set(sys.modules) - before)
