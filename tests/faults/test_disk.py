"""A full disk, a limit of file sizes, and folders that may not be written to: one clear line, and nothing half-written."""

import shutil
import subprocess

import pytest

from tests.faults.campaign import assert_sound

pytestmark = pytest.mark.slow


def errors(output):
    """The lines of an output that say why it ended; a traceback is none."""
    assert "Traceback" not in output, output
    return [line for line in output.splitlines() if line.startswith("error: ")]


def assert_nothing_is_half_written(house, stage):
    """Each file has its sound content or is not there; no other is left."""
    files = house.files()
    wrong = [name for name, digest in files.items() if house.sound.get(name) != digest]
    assert not wrong, f"{stage.name} left {wrong}"


def made(house, stage):
    """The files that the stage leaves."""
    paths = [house.folder / out for out in stage.outs]
    return [file for path in paths for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file()]


def largest(house, stage):
    """Bytes of the largest of them."""
    return max(file.stat().st_size for file in made(house, stage))


def test_every_writer_says_that_the_disk_is_full_and_goes_on_when_there_is_space(house):
    for stage in house.stages:
        limit = largest(house, stage) // 2
        house.remove_outs(stage)
        ended = house.run(stage, {"bytes": limit, "save": False})
        assert ended.status == 1, f"{stage.name}: {ended.output}"
        (line,) = errors(ended.output)
        print(f"{stage.name}: {line}")
        assert_nothing_is_half_written(house, stage)
        assert_sound(house, stage, "when there is space again")


def test_each_file_that_a_stage_writes_may_be_the_one_for_which_there_is_no_space(house):
    for stage in house.stages:
        # What is fetched comes as a whole folder.
        expected = 0 if stage.kind in ("fetch", "fetch_weights") else len(made(house, stage))
        house.remove_outs(stage)
        files = house.run(stage, {"count": "files", "save": False}).counts["files"]
        assert files == expected + 1, f"{stage.name} writes {files} files, of which one has its time"
        for number in range(1, files + 1):
            house.remove_outs(stage)
            ended = house.run(stage, {"full": number, "save": False})
            if number == files and ended.status == 0:
                # The last one tells how long it took, and no stage fails for that.
                assert "note: .timings/" in ended.output
                continue
            assert ended.status == 1, f"{stage.name} at file {number}: {ended.output}"
            (line,) = errors(ended.output)
            assert "no space left on device: free some space" in line, line
            assert_nothing_is_half_written(house, stage)
        assert_sound(house, stage, "when there is space again")


def test_a_state_that_can_t_be_saved_stops_no_training(house):
    for stage in (stage for stage in house.stages if stage.trains):
        limit = largest(house, stage) + 1000
        house.remove_outs(stage)
        ended = house.run(stage, {"bytes": limit})
        assert ended.status == 0, f"{stage.name}: {ended.output}"
        assert "state.pt can't be written: file too large" in ended.output, f"{stage.name}: {ended.output}"
        assert "training goes on; what was saved last is step 0" in ended.output
        assert_nothing_is_half_written(house, stage)
        assert not house.states()


def test_a_full_file_system_keeps_the_state_and_the_next_run_goes_on(house, tmp_path):
    (stage,) = [stage for stage in house.stages if stage.kind == "train_acgan"]
    models = house.folder / "models/acgan-0"
    house.remove_outs(stage)
    models.mkdir(exist_ok=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", models], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"mounting a small file system is not allowed here: {mounted.stderr.strip()}")
    try:
        ended = house.run(stage)
        assert ended.status == 1
        (line,) = errors(ended.output)
        assert line.startswith("error: models/acgan-0/weights.safetensors can't be written: no space left on device: free some")
        assert not list(models.iterdir())
        subprocess.run(["mount", "-o", "remount,size=64m", models], check=True)
        assert_sound(house, stage, "with more space", "goes on from step 3")
    finally:
        shutil.copytree(models, tmp_path / "made")
        subprocess.run(["umount", models], check=True)
        shutil.copytree(tmp_path / "made", models, dirs_exist_ok=True)


@pytest.mark.parametrize("states", ["and_to_no_states", "but_to_states"])
def test_every_writer_names_what_it_may_not_write_to(house, states):
    for stage in house.stages:
        if states == "but_to_states" and not stage.trains:
            continue
        house.remove_outs(stage)
        (house.folder / ".resume").mkdir(exist_ok=True)
        folders = [path for path in house.folder.rglob("*") if path.is_dir() and ".git" not in path.parts]
        if states == "but_to_states":
            folders = [path for path in folders if ".resume" not in path.parts]
        for path in folders:
            path.chmod(0o555)
        try:
            ended = house.run(stage, {"modes": True})
        finally:
            for path in folders:
                path.chmod(0o755)
        assert ended.status == 1, f"{stage.name}: {ended.output}"
        (line,) = errors(ended.output)
        print(f"{stage.name}: {line}")
        assert ": permission denied: give your user the right" in line, f"{stage.name}: {line}"
        assert_nothing_is_half_written(house, stage)
        assert_sound(house, stage, "when it may write again")
