"""Device sets: a setting as names, and what a job of a set may see."""

import pytest

from pipeline.device_sets import device_sets, gpus_of, visible_devices


def test_a_setting_names_its_sets():
    assert device_sets("0,1;2, 3") == ("0,1", "2,3")
    assert device_sets("GPU-8932f937; cpu;cpu") == ("GPU-8932f937", "cpu", "cpu")
    assert device_sets("") == device_sets(" ; ") == ("this machine",)


def test_a_set_says_what_its_jobs_see_and_how_many_gpus_it_has():
    sets = ("this machine", "cpu", "2", "0,1")
    assert [visible_devices(one) for one in sets] == [None, "", "2", "0,1"]
    assert [gpus_of(one) for one in sets] == [None, 0, 1, 2]


@pytest.mark.parametrize(
    "setting, found", [("gpu0", "'gpu0'"), ("0,,1", "'0,,1'"), ("0;1,0", "GPU 0 twice"), ("-1", "'-1'")]
)
def test_a_wrong_set_is_refused(setting, found):
    with pytest.raises(ValueError, match=f"found {found}"):
        device_sets(setting)
