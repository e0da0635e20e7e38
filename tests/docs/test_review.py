"""The workflow that comments on pull requests: what it may do, and its shell, run on a merge of two branches."""

import json
import os
import re

import pytest
import yaml

from tests.pipeline.clone import ROOT, Clone

# BaseLoader leaves words as they are: for others `on` is a boolean.
WORKFLOW = yaml.load((ROOT / ".github/workflows/review.yml").read_text(), Loader=yaml.BaseLoader)
STEPS = {step["name"]: step for job in WORKFLOW["jobs"].values() for step in job["steps"] if "name" in step}


@pytest.fixture
def clone(tmp_path, monkeypatch) -> Clone:
    monkeypatch.setenv("GITHUB_SERVER_URL", "https://git.example")
    monkeypatch.setenv("GITHUB_REPOSITORY", "you/study")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "step-summary.md"))
    return Clone(tmp_path / "clone")


def shell(clone: Clone, step: str) -> str:
    """Run a step as GitHub does; returns what it prints."""
    return clone.run("bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", STEPS[step]["run"]).stdout


def state(clone: Clone, accuracy: float, pictures: dict[str, bytes]) -> None:
    for name, content in {"metrics/summary.json": json.dumps({"accuracy": accuracy}).encode(), **pictures}.items():
        (clone.folder / name).parent.mkdir(exist_ok=True)
        (clone.folder / name).write_bytes(content)
    clone.commit()


def test_a_pull_request_s_code_gets_no_token_that_writes():
    assert WORKFLOW["on"] == "pull_request"
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert "permissions" not in WORKFLOW["jobs"]["checks"]
    assert WORKFLOW["jobs"]["comment"]["permissions"] == {"contents": "read", "pull-requests": "write"}
    for job in WORKFLOW["jobs"].values():
        for step in job["steps"]:
            # An expression in a shell line would be code that a title or a branch name can write.
            assert "${{" not in step.get("run", "")
            assert not step.get("uses", "").startswith("actions/checkout") or step["with"]["persist-credentials"] == "false"
            assert step.get("name") == "Post" or "github.token" not in str(step)
    assert STEPS["Post"]["if"] == "github.event.pull_request.head.repo.full_name == github.repository"


def test_its_checks_are_targets_of_the_makefile():
    make, *targets = STEPS["Check"]["run"].split()
    known = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert make == "make" and targets and set(targets) <= known


def test_it_installs_the_pinned_dvc(clone, tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/pip").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (tmp_path / "bin/pip").chmod(0o755)
    monkeypatch.setattr("tests.pipeline.clone.environment", lambda: os.environ | {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}"})
    words = shell(clone, "Install DVC").splitlines()
    assert words[0] == "install" and re.fullmatch(r"dvc==[\d.]+", words[1]) and len(words) == 2


def test_the_comment_has_the_figures_params_and_pictures_that_changed(clone, tmp_path):
    state(clone, 0.5, {"plots/same.png": b"same", "plots/digits.png": b"old"})
    clone.run("git", "branch", "base")
    clone.run("git", "checkout", "-qb", "change")
    clone.change("  batch_norm: eval\n", "  batch_norm: batch\n")
    state(clone, 0.75, {"plots/digits.png": b"new"})
    clone.run("git", "checkout", "-q", "base")
    (clone.folder / "other").write_text("The base goes on.")
    clone.commit()
    merge = ("-c", "user.name=test", "-c", "user.email=test@example.org", "merge", "-q", "--no-ff", "-m", "merge", "change")
    clone.run("git", *merge)
    shell(clone, "Write")

    comment = (clone.folder / "comment.md").read_text()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in comment.splitlines() if line.startswith("|")]
    assert ["metrics/summary.json", "accuracy", "0.5", "0.75", "0.25"] in rows
    assert ["params.yaml", "acgan.sample.batch_norm", "eval", "batch"] in rows
    before, after = (clone.run("git", "rev-parse", name).stdout.strip() for name in ("HEAD^1", "change"))
    place = "https://git.example/you/study/blob"
    pictures = [line for line in comment.splitlines() if line.startswith("- ")]
    assert pictures == [
        f"- plots/digits.png: [before]({place}/{before}/plots/digits.png), [after]({place}/{after}/plots/digits.png)"
    ]
    assert (tmp_path / "step-summary.md").read_text() == comment


def test_a_change_without_figures_gets_a_comment_too(clone):
    state(clone, 0.5, {"plots/same.png": b"same"})
    clone.run("git", "checkout", "-qb", "change")
    (clone.folder / "other").write_text("Words alone.")
    clone.commit()
    clone.run("git", "checkout", "-q", "-")
    merge = ("-c", "user.name=test", "-c", "user.email=test@example.org", "merge", "-q", "--no-ff", "-m", "merge", "change")
    clone.run("git", *merge)
    shell(clone, "Write")
    comment = (clone.folder / "comment.md").read_text()
    assert "### Figures" in comment and "### Pictures" in comment and "before" not in comment
