import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def call(tmp_path):
    """A function that runs a stage module with the given body of main and words, below a folder called stages."""

    def run(body, *words):
        module = tmp_path / "stages" / "room" / "thing.py"
        module.parent.mkdir(parents=True, exist_ok=True)
        module.write_text(
            textwrap.dedent('''
                """Does a thing."""
                from stages.runtime.stage import UserError, run
                def main(pair: str, seed: int) -> None:
                    BODY
                if __name__ == "__main__":
                    run(main)
            ''').replace("BODY", body)
        )
        return subprocess.run(
            [sys.executable, module, *words],
            cwd=tmp_path,
            env={"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


def test_a_user_s_error_is_one_line_and_a_non_zero_exit(call):
    done = call("raise UserError('no such\\n pair')", "a-b", "0")
    assert done.returncode == 1
    assert done.stderr == "error: no such pair\n"


def test_a_defect_keeps_its_traceback(call):
    assert "Traceback" in call("1 / 0", "a-b", "0").stderr


def test_ctrl_c_ends_in_one_line(call):
    done = call("raise KeyboardInterrupt", "a-b", "0")
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


def test_words_are_converted_and_checked(call):
    assert call("print(repr(pair), repr(seed))", "a-b", "7").stdout == "'a-b' 7\n"
    assert call("pass", "a-b", "x").returncode == 2
    assert "Does a thing." in call("pass", "--help").stdout


def test_time_and_memory_are_left_beside_the_outputs(call, tmp_path):
    call("pass", "a-b", "7")
    timing = json.loads((tmp_path / ".timings" / "room.thing-a-b-7.json").read_text())
    assert timing["seconds"] >= 0
    assert timing["peak_bytes"] > 1e6
