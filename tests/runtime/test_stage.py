import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def start(tmp_path):
    """A function that starts a stage module with the given body of main and words, below a folder called stages."""

    def run(body, *words, before=(), signature="pair: str, seed: int", options="", **environment):
        module = tmp_path / "stages" / "room" / "thing.py"
        module.parent.mkdir(parents=True, exist_ok=True)
        template = textwrap.dedent('''
            """Does a thing."""
            import os, signal, sys, time
            from pathlib import Path
            from typing import Annotated
            from stages.runtime.errors import UserError
            from stages.runtime.files import replacing
            from stages.runtime.stage import run
            def main(SIGNATURE) -> None:
                BODY
            if __name__ == "__main__":
                run(mainOPTIONS)
        ''')
        template = template.replace("SIGNATURE", signature).replace("OPTIONS", options)
        module.write_text(template.replace("BODY", textwrap.indent(textwrap.dedent(body), " " * 4).strip()))
        return subprocess.Popen(
            [*before, sys.executable, module, *words],
            cwd=tmp_path,
            env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=heed,
        )

    return run


def heed():
    """Let all signals count, which tests that run in the background may be ignoring."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture
def call(start):
    """The same, and what came of it."""

    def run(*arguments, **options):
        process = start(*arguments, **options)
        stdout, stderr = process.communicate(timeout=60)
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_in_one_line_and_leaves_no_temporary_file(start, tmp_path, number):
    process = start(
        """
        with replacing("out.txt"):
            print("here", flush=True)
            time.sleep(60)
        """,
        "a-b",
        "0",
    )
    assert process.stdout.readline() == "here\n"
    process.send_signal(number)
    assert process.communicate(timeout=20)[1] == "interrupted\n"
    assert process.returncode == 128 + number
    assert os.listdir(tmp_path) == ["stages"]


def test_nohup_is_respected(call):
    done = call("os.kill(os.getpid(), signal.SIGHUP); print('goes on')", "a-b", "0", before=["nohup"])
    assert done.returncode == 0
    assert "goes on" in done.stdout


# The stage's parent ends as soon as the stage has said that it is there; the stage then waits for what comes.
ABANDONED = """
Path("pid").write_text(str(os.getpid()))
time.sleep(5)
Path("end").write_text("reached")
"""


@pytest.mark.parametrize(("environment", "ends"), [({}, True), ({"DVC_STAGE": "thing"}, False)])
def test_a_stage_is_stopped_when_the_dvc_that_started_it_is_gone_and_only_then(start, tmp_path, environment, ends):
    before = ["sh", "-c", '"$@" & while [ ! -s pid ]; do sleep 0.05; done; sleep 0.2', "sh"]
    process = start(ABANDONED, "a-b", "0", before=before, **environment)
    _, said = process.communicate(timeout=20)  # ends only when the stage has closed its output, too
    assert (tmp_path / "end").exists() is ends
    assert said == ("" if ends else "the dvc that started this is gone: stopping\ninterrupted\n")


def test_a_stage_whose_dvc_is_gone_before_it_has_begun_ends_at_once(start, tmp_path):
    process = start(ABANDONED, "a-b", "0", before=["sh", "-c", '"$@" &', "sh"], DVC_STAGE="thing")
    assert process.communicate(timeout=20)[1] == "interrupted\n"
    assert not (tmp_path / "end").exists()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("Path('a').mkdir(); Path('a').write_text('')", "error: a: is a directory: a folder stands where"),
        ("Path('none').read_text()", "error: none: no such file or directory: run `dvc repro`"),
        ("raise OSError(28, 'No space left on device')", "error: no space left on device: free some space"),
    ],
)
def test_what_the_file_system_refuses_is_one_line(call, body, words):
    done = call(body, "a-b", "0")
    assert done.returncode == 1
    assert done.stderr.startswith(words)
    assert done.stderr.count("\n") == 1


def test_a_reader_that_goes_away_is_no_error(start):
    process = start("time.sleep(0.3); print('x' * 100_000)", "a-b", "0")
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(20) == 128 + signal.SIGPIPE


def test_words_are_converted_and_checked(call):
    assert call("print(repr(pair), repr(seed))", "a-b", "7").stdout == "'a-b' 7\n"
    assert call("pass", "a-b", "x").returncode == 2
    assert "Does a thing." in call("pass", "--help").stdout


# What a user's command line may look like.
OPTIONS = """
    pair: Annotated[str, "a pair", "adaptation.pairs"], *,
    count: Annotated[int, "how many"] = 3,
    psi: Annotated[float | None, "100 % is 1"] = None,
    class_: Annotated[str | None, "the class"] = None,
    force: Annotated[bool, "replace it"] = False
"""


def test_keyword_parameters_are_options_with_defaults(call):
    def said(*words):
        return call("print(pair, count, psi, class_, force)", *words, signature=OPTIONS)

    assert said("a-b").stdout == "a-b 3 None None False\n"
    assert said("--count", "7", "a-b", "--psi", "0.5", "--class", "x", "--force").stdout == "a-b 7 0.5 x True\n"
    assert said("--count=-1", "--", "-b").stdout == "-b -1 None None False\n"
    for words in (["a-b", "--count", "x"], ["a-b", "--cou", "7"], ["a-b", "--psi"], ["a-b", "0"], ["--force"]):
        assert said(*words).returncode == 2


def test_help_has_a_line_for_each_argument_and_the_choices_of_the_params(call, tmp_path):
    (tmp_path / "params.yaml").write_text("adaptation: {pairs: {a-b: {source: a}, c-d: {}}}")
    text = " ".join(call("pass", "--help", signature=OPTIONS).stdout.split())
    for line in (
        "a pair (adaptation.pairs in params.yaml: a-b, c-d)",
        "--class CLASS the class",
        "100 % is 1",
        "--force replace",
    ):
        assert line in text


@pytest.mark.parametrize("content", ["", "[" * 5000, "a: b: c", "adaptation: {pairs: 3}", "adaptation: {pairs: [[1], {}]}", "7"])
def test_help_does_without_the_choices_where_params_cannot_be_read(call, tmp_path, content):
    assert call("pass", "--help", signature=OPTIONS).returncode == 0
    (tmp_path / "params.yaml").write_text(content)
    assert "(adaptation.pairs in params.yaml)" in " ".join(call("pass", "--help", signature=OPTIONS).stdout.split())


def test_what_is_no_stage_leaves_no_times(call, tmp_path):
    assert call("pass", "a/b", "7", options=", timed=False").returncode == 0
    assert not (tmp_path / ".timings").exists()


def test_time_and_memory_are_left_beside_the_outputs(call, tmp_path):
    call("time.sleep(0.3)", "a-b", "7")
    timing = json.loads((tmp_path / ".timings" / "room.thing-a-b-7.json").read_text())
    assert 0.3 <= timing["seconds"] < 60
    assert timing["peak_bytes"] > 1e6
