"""The params' file as it is written, what stages read of it, and the command that checks it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from stages.runtime import params
from stages.runtime.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("written", "words"),
    [
        (b"", "is null; must be a group of keys"),
        (b"- 1", "is a list of 1; must be a group of keys"),
        (b"word", "is 'word'; must be a group of keys"),
        (b"judge: 1", "is missing|is 1"),
        (b"judge: [", "no valid YAML: .* in line 1"),
        (b"judge:\n\tsteps: 1", r"no valid YAML: .*'\\t' .* in line 2"),
        (b"\x00", "no valid YAML: unacceptable character"),
        (b"\xff\xfe\x00", "no valid YAML: 'utf-8' codec can't decode"),
        ("judge: 1".encode("utf-16"), "no valid YAML: 'utf-8' codec can't decode"),
        (b"judge: {steps: 1, steps: 2}", "key 'steps' is given twice, again in line 1"),
        (b"? [a]\n: b", "key in line 1 is no word"),
        (b"1: b", "key in line 1 is no word"),
        (b"null: b", "key in line 1 is no word"),
        (b"a: &x 1\nb: *x", r"line 2 repeats the value \*x"),
        (b"a: &x {b: 1}\nc: {<<: *x}", r"line 2 repeats the value \*x"),
        (b"a: &x [*x]", r"repeats the value \*x"),
        (b"a: {<<: {b: 1}}", "there is no key"),
        (b"a: !!int '3'", "line 1 has the tag tag:yaml.org,2002:int"),
        (b"a: !!python/object/apply:os.system ['touch canary']", "line 1 has the tag tag:yaml.org,2002:python"),
        (b"!!python/name:os.system\na: 1", "has the tag"),
        (b"a: !mine 3", "line 1 has the tag !mine"),
        (b"a: 1\n--- \nb: 1", "no valid YAML: but found another document in line 2"),
        (b"[" * 5000, "line 1 is nested more than 20 levels deep"),
        (b"{a: " * 5000, "line 1 is nested more than 20 levels deep"),
        (b"\n".join(b" " * depth + b"a:" for depth in range(400)), "line 2. is nested more than 20 levels deep"),
        (b"a: " + b"9" * 5000, "no valid YAML: .*digits"),
        (b"#" * 300_000, "larger than 256000 bytes"),
    ],
)
def test_what_is_no_params_file_is_refused(tmp_path, monkeypatch, written, words):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "params.yaml"
    path.write_bytes(written)
    with pytest.raises(UserError, match=words) as raised:
        params.load(path)
    assert str(raised.value).isprintable()
    assert [file.name for file in tmp_path.iterdir()] == ["params.yaml"]


def test_aliases_that_multiply_are_refused_at_once(tmp_path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30)]
    path = tmp_path / "params.yaml"
    path.write_text("\n".join(lines))
    with pytest.raises(UserError, match="repeats the value"):
        params.load(path)


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("1_000", "'1_000'"),
        ("017", "'017'"),
        ("0o17", "'0o17'"),
        ("0x1F", "'0x1F'"),
        ("1:30", "'1:30'"),
        ("1e3", "1000.0"),
        ("1e400", "inf"),
        ("2001-01-01", "'2001-01-01'"),
        ("yes", "'yes'"),
        ("'3'", "'3'"),
        ("~", "null"),
        ("", "null"),
        ("３", "'３'"),
        ("true", "true"),
        (".nan", "nan"),
    ],
)
def test_a_whole_number_is_written_in_plain_digits(edited, written, shown):
    with pytest.raises(UserError, match=f"judge.steps: is {re.escape(shown)}; must be a whole number"):
        params.load(rewritten(edited(), "judge", "steps: 3000", f"steps: {written}"))


@pytest.mark.parametrize("start", ["\ufeff", "---\n", "%YAML 1.1\n---\n", "# ünï\r\n"])
def test_marks_of_editors_do_no_harm(edited, start):
    path = edited()
    path.write_text(start + path.read_text(), encoding="utf-8")
    assert params.load(path).judge.steps == 3000


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(UserError, match="can't be read: Is a directory"):
        params.load(tmp_path)


def test_a_missing_file_says_how_to_restore_it(tmp_path):
    with pytest.raises(UserError, match="cp presets/laptop.yaml"):
        params.load(tmp_path / "params.yaml")


@pytest.mark.parametrize("written", ["1e-05", "1.0e-05", "0.00001", "1E-5"])
def test_small_numbers_are_numbers_however_dvc_writes_them(edited, written):
    assert params.load(rewritten(edited(), "judge", "lr: 0.001", f"lr: {written}")).judge.lr == 1e-5


def rewritten(path: Path, group: str, old: str, new: str) -> Path:
    """The file with a line of one group replaced in the text."""
    before, after = path.read_text(encoding="utf-8").split(f"\n{group}:\n")
    changed = after.replace(f"  {old}\n", f"  {new}\n", 1)
    assert changed != after
    path.write_text(f"{before}\n{group}:\n{changed}", encoding="utf-8")
    return path


def test_read_gives_groups_and_single_values():
    train, cap = params.read("stylegan2.train", "adaptation.pairs.syn-mnistm.max_source", path=ROOT / "presets/laptop.yaml")
    assert train.steps > 0
    assert cap is None


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("adaptation.pairs.syn-mnist.source", "'syn-mnist'; did you mean 'syn-mnistm'? (mfeat-syn, mnistm-mfeat, syn-mnistm)"),
        ("adaptation.dan", "'dan'; did you mean 'dann'? ("),
        ("data.datasets.celeba", "'celeba', which is not known (mfeat, mnistm, orl, syn)"),
        ("data.datasets.copy", "'copy', which is not known ("),
        ("data.datasets.__class__", "'__class__', which is not known ("),
        ("judge.steps.real", "'real', which is not known ()"),
        ("", "'', which is not known ("),
        ("data.folders.mine", "'mine', which is not known ()"),
    ],
)
def test_what_is_asked_for_and_not_there_is_named_with_the_nearest(key, words):
    with pytest.raises(UserError) as raised:
        params.read(key, path=ROOT / "presets/laptop.yaml")
    assert f"has no {key}: " in str(raised.value)
    assert words in str(raised.value)


@pytest.mark.parametrize("change", ["steps: many", "stepz: 3000", "steps: *x"])
def test_the_command_says_one_line_and_fails(edited, change):
    done = check(rewritten(edited(), "judge", "steps: 3000", change).parent)
    assert done.returncode == 1
    assert re.fullmatch(r"error: params.yaml.*\n", done.stderr)
    assert done.stdout == ""


def test_the_command_says_that_all_is_well(edited):
    done = check(edited().parent)
    assert (done.returncode, done.stdout, done.stderr) == (0, "params.yaml is valid\n", "")


def check(folder: Path) -> subprocess.CompletedProcess:
    """`python -m stages.runtime.params` in a folder."""
    command = [sys.executable, "-m", "stages.runtime.params"]
    return subprocess.run(
        command, cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60
    )
