"""Every reader of what comes from outside, fed with damaged, made-up and hostile content."""

import os
import shutil

import pytest
from hypothesis import strategies as st

from stages.runtime.errors import UserError
from tests.fuzz import of_data, of_outputs, of_params
from tests.fuzz.harness import QUICK, Target, feed, run

# Cases of a whole slow run, at least.
LEAST = 10_000
TARGETS = [*of_params.TARGETS, *of_data.TARGETS, *of_outputs.TARGETS]


def name(target) -> str:
    return target.name


@pytest.mark.parametrize("target", TARGETS, ids=name)
def test_a_few_cases_end_in_a_value_or_one_clear_line(target):
    assert run(target, QUICK) >= QUICK


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS, ids=name)
def test_many_cases_end_in_a_value_or_one_clear_line(target):
    assert run(target, target.cases) >= target.cases


def test_the_slow_run_has_enough_cases():
    assert sum(target.cases for target in TARGETS) >= LEAST


@pytest.mark.parametrize("target", [target for target in TARGETS if target.start is not None], ids=name)
def test_what_the_cases_start_from_is_read(target):
    """Or else every case might be refused for one and the same reason."""
    assert not isinstance(feed(target, target.start), UserError | None)


CHANGES = {
    "write": lambda folder: (folder / "file").write_text(""),
    "mkdir": lambda folder: (folder / "new").mkdir(),
    "remove": lambda folder: (folder / "file").unlink(),
    "rmdir": lambda folder: (folder / "empty").rmdir(),
    "rmtree": lambda folder: shutil.rmtree(folder / "full"),
    "rename": lambda folder: (folder / "file").rename(folder / "other"),
    "replace": lambda folder: os.replace(folder / "file", folder / "other"),
    "symlink": lambda folder: (folder / "link").symlink_to("/"),
    "link": lambda folder: (folder / "link").hardlink_to(folder / "file"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_seen_outside_of_the_case_s_folder_alone(change, tmp_path):
    for name in ("empty", "full/below"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("file", "full/file"):
        (tmp_path / name).touch()
    feed(Target(change, 1, st.none(), lambda folder, _: CHANGES[change](shutil.copytree(tmp_path, folder / "copy"))), None)
    with pytest.raises(AssertionError, match="did what no reader may do"):
        feed(Target(change, 1, st.none(), lambda *_: CHANGES[change](tmp_path)), None)


def test_a_file_that_leaves_the_case_s_folder_is_seen(tmp_path):
    def leave(folder, _):
        (folder / "file").touch()
        (folder / "file").rename(tmp_path / "file")

    with pytest.raises(AssertionError, match="os.rename"):
        feed(Target("leaves", 1, st.none(), leave), None)
