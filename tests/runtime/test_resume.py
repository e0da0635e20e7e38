import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from stages.report.ablation import BUSY
from stages.runtime import resume
from stages.runtime.errors import UserError
from stages.runtime.resume import ResumeState

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("RESUME_DIR", str(tmp_path / "resume"))
    return tmp_path / "resume"


@pytest.fixture
def state():
    """A state saved twice: 1, then 2."""
    state = ResumeState("fit-0", {"lr": 1}, [])
    for step in (1, 2):
        state.save({"step": torch.tensor(step)}, step)
    return state


def step_of(content):
    return content and int(content["step"])


def test_the_newest_and_the_one_before_are_kept(state):
    assert step_of(state.load()) == 2
    (state.folder / "state.pt").unlink()
    assert step_of(state.load()) == 1
    assert [path.name for path in state.folder.iterdir()] == ["previous.pt"]


@pytest.mark.parametrize("damage", [lambda content: b"", lambda content: b"garbage", lambda content: content[:-20]])
def test_a_damaged_state_is_said_and_the_previous_one_taken(state, capsys, damage):
    path = state.folder / "state.pt"
    path.write_bytes(damage(path.read_bytes()))
    assert step_of(state.load()) == 1
    assert capsys.readouterr().err == f"fit-0: {path} is left out, it is damaged\n"


def test_every_flipped_bit_is_seen(state):
    path = state.folder / "state.pt"
    (state.folder / "previous.pt").unlink()
    content = path.read_bytes()
    for place in range(0, len(content), max(1, len(content) // 200)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        assert state.load() is None, place


@pytest.mark.parametrize(
    ("place", "error"),
    [
        ("torch.load", MemoryError()),
        ("torch.load", RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes")),
        ("hashlib.file_digest", OSError(5, "Input/output error")),
        ("pathlib.Path.open", PermissionError(13, "Permission denied")),
    ],
)
def test_a_state_that_can_t_be_read_now_is_not_trained_over(state, monkeypatch, place, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(place, fail)
    with pytest.raises(UserError, match="state.pt can't be read: .*--clear fit-0` has it start afresh"):
        state.load()
    monkeypatch.undo()
    assert step_of(state.load()) == 2


def test_a_damaged_state_does_not_become_the_previous_one(state):
    (state.folder / "state.pt").write_bytes(b"garbage")
    state.load()
    state.save({"step": torch.tensor(3)}, 3)
    (state.folder / "state.pt").write_bytes(b"garbage")
    assert step_of(state.load()) == 1


def test_a_saving_that_fails_leaves_both_as_they_were(state, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="state.pt can't be written: no space left on device: free some"):
        state.save({"step": torch.tensor(3)}, 3)
    assert step_of(state.load()) == 2
    (state.folder / "state.pt").unlink()
    assert step_of(state.load()) == 1


def test_what_the_caller_finds_unfit_is_left_out(state, capsys):
    assert step_of(state.load(lambda content: "is too new" if content["step"] > 1 else None)) == 1
    assert "state.pt is left out, it is too new" in capsys.readouterr().err


def test_what_is_no_state_though_whole_is_left_out(state, capsys):
    state.save([1], 3)
    assert step_of(state.load()) == 2
    assert "state.pt is left out, it is no resume state" in capsys.readouterr().err


def test_another_run_s_state_is_refused_though_whole(state, capsys):
    other = ResumeState("fit-1", {"lr": 1}, [])
    other.save({"step": torch.tensor(9)}, 9)
    (state.folder / "state.pt").write_bytes((other.folder / "state.pt").read_bytes())
    assert step_of(state.load()) == 1
    assert f"it belongs to {other.folder.name}" in capsys.readouterr().err


def test_states_are_never_unpickled(state, tmp_path):
    class Attack:
        def __reduce__(self):
            return Path.touch, (tmp_path / "attacked",)

    state.save({"step": Attack()}, 3)
    assert step_of(state.load()) == 2
    assert not (tmp_path / "attacked").exists()


def test_other_params_inputs_or_runs_have_a_state_of_their_own(tmp_path):
    file = tmp_path / "input"
    file.write_text("a")
    folders = [ResumeState("fit-0", {"lr": 1}, [file]).folder, ResumeState("fit-0", {"lr": 2}, [file]).folder]
    file.write_text("b")
    folders += [ResumeState("fit-0", {"lr": 1}, [file]).folder, ResumeState("fit-1", {"lr": 1}, [file]).folder]
    assert len(set(folders)) == 4
    assert len({folder.name.rpartition("-")[2] for folder in folders}) == 4
    file.write_text("a")
    assert ResumeState("fit-0", {"lr": 1}, [file]).folder == folders[0]


def test_the_code_of_loaded_stages_counts_and_the_schema_does_not(monkeypatch):
    code = resume._code()
    assert "stages/runtime/resume.py" in code
    assert not {f"stages/runtime/{name}.py" for name in ("schema", "datasets", "values")} & set(code)
    before = ResumeState("fit-0", None, []).folder
    monkeypatch.setattr(resume, "_code", lambda: code | {"stages/runtime/resume.py": "0"})
    assert ResumeState("fit-0", None, []).folder != before


def test_another_environment_is_said(state, monkeypatch, capsys):
    monkeypatch.setattr(resume, "_made_with", lambda: {"torch": "1.0", "device": "cpu", "threads": 1})
    assert step_of(state.load()) == 2
    assert f"torch {torch.__version__} then, 1.0 now" in capsys.readouterr().err


def test_a_state_is_one_process_s_at_a_time(state):
    with state.held():
        other = ResumeState("fit-0", {"lr": 1}, [])
        with pytest.raises(UserError, match=f"fit-0 {BUSY} {os.getpid()} .*: wait for it or stop it"):
            other.acquire()
        with pytest.raises(KeyboardInterrupt), other_run().held():
            raise KeyboardInterrupt
    with pytest.raises(UserError, match="is being trained"):
        other.acquire()
    state.clear()
    other.acquire()
    other.clear()
    assert not list(state.folder.parent.iterdir())


def test_a_finished_run_leaves_the_next_one_s_lock_alone(state, monkeypatch):
    state.acquire()
    remove, others = resume.shutil.rmtree, []

    def and_another_comes(folder, **options):
        remove(folder, **options)
        others.append(ResumeState("fit-0", {"lr": 1}, []))
        others[0].acquire()

    monkeypatch.setattr(resume.shutil, "rmtree", and_another_comes)
    state.clear()
    monkeypatch.undo()
    monkeypatch.setenv("RESUME_DIR", str(state.folder.parent))
    with pytest.raises(UserError, match="is being trained"):
        ResumeState("fit-0", {"lr": 1}, []).acquire()
    others[0].clear()


def other_run():
    return ResumeState("fit-1", None, [])


def test_an_interrupted_run_without_a_state_leaves_nothing(folder):
    with pytest.raises(KeyboardInterrupt), other_run().held():
        raise KeyboardInterrupt
    assert not list(folder.iterdir())


def test_the_lock_ends_with_its_process_and_a_killed_writer_s_leftovers_go(state):
    program = f"""
import os, sys, signal
sys.path.insert(0, {str(ROOT)!r})
from stages.runtime import resume
resume._code = dict
state = resume.ResumeState("fit-0", {{"lr": 1}}, [])
state.acquire()
os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)
state.save({{"step": 3}}, 3)
"""
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == -9
    (left,) = [folder for folder in state.folder.parent.iterdir() if folder != state.folder]
    assert len(list(left.glob(".state-*.pt"))) == 1
    state.folder = left
    state.acquire()
    state.save({"step": torch.tensor(4)}, 4)
    assert sorted(path.name for path in left.iterdir()) == ["lock", "state.pt"]
    state.clear()


def test_states_are_listed_with_what_became_of_them_and_removed_by_name(state, capsys, monkeypatch, tmp_path):
    def command(*words):
        monkeypatch.setattr(sys, "argv", ["resume", *words])
        resume.main()
        return capsys.readouterr().out

    file = tmp_path / "input"
    file.write_text("a")
    other = ResumeState("fit-1", None, [file])
    other.save({"step": torch.tensor(7)}, 7)
    assert f"{state.folder}  step 2  0.0 h ago  0.0 MB  goes on where the params are" in command("--list")
    file.write_text("b")
    assert f"stale: {file} changed since" in command("--list")
    (other.folder / "state.pt").write_bytes(b"garbage")
    assert f"{other.folder}  step 0  0.0 h ago  0.0 MB  nothing in it can be read" in command("--list")
    with pytest.raises(SystemExit, match="error: .* holds no state of fit-2: --list shows"):
        command("--clear", "fit-2")
    with state.held():
        assert f"in use by process {os.getpid()}" in command("--list")
        assert command("--clear") == f"{other.folder} is removed\n"
    state.release()
    for name in ("photos", "photos-0123456789abcdef"):
        (state.folder.parent / name).mkdir()
        (state.folder.parent / name / "mine.jpg").write_text("not a state")
    assert command("--clear", "fit-0") == f"{state.folder} is removed\n"
    assert command("--list").endswith("holds no saved states\n")
    assert command("--clear") == ""
    assert len(list(state.folder.parent.glob("*/mine.jpg"))) == 2


def test_a_damaged_header_is_listed_as_nothing_that_can_be_read(state):
    (state.folder / "previous.pt").unlink()
    path = state.folder / "state.pt"
    digest, line, payload = path.read_bytes().split(b"\n", 2)
    for word in (b"run", b"step", b"inputs", b"code", b"version", b"fingerprint"):
        path.write_bytes(b"\n".join([digest, line.replace(b'"' + word, b'"x' + word[1:]), payload]))
        assert [one.note for one in resume.kept()] == ["nothing in it can be read"]


def test_a_header_says_what_the_state_is_without_reading_it(state):
    _, line, _ = (state.folder / "state.pt").read_bytes().split(b"\n", 2)
    about = json.loads(line)
    assert (about["run"], about["step"], about["version"]) == ("fit-0", 2, resume.VERSION)
