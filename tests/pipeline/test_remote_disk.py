"""A remote job's folder on its machine: its own, and gone when it has ended, in whichever way."""

import signal
import subprocess
import sys

import pytest

from pipeline.remote_disk import working_folder

HOLD = """
import sys
from pipeline.remote_disk import working_folder
with working_folder(sys.argv[1]):
    print("holds", flush=True)
    input()
"""


@pytest.fixture(autouse=True)
def disk(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    return tmp_path


@pytest.fixture
def other():
    """Another process with a folder of its own."""
    command = [sys.executable, "-c", HOLD, "other"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        yield process
        process.kill()


def test_it_is_removed_at_the_end_also_after_an_error(disk):
    with pytest.raises(RuntimeError), working_folder("mine") as folder:
        (folder / "models").mkdir()
        raise RuntimeError
    assert list(disk.iterdir()) == []


def test_one_in_use_is_left_alone(disk, other):
    with working_folder("mine"):
        assert len(list(disk.iterdir())) == 2


def test_one_of_a_killed_process_is_removed(disk, other):
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert len(list(disk.iterdir())) == 1
    with working_folder("mine") as folder:
        assert list(disk.iterdir()) == [folder]


def test_a_job_started_again_finds_what_its_killed_predecessor_had(disk, other):
    (disk / "rankloop-job-other" / "models").mkdir()
    other.send_signal(signal.SIGKILL)
    other.wait()
    with working_folder("other") as folder:
        assert (folder / "models").is_dir()
