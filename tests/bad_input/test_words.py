"""Stages with words that they don't know, with wrong params and as commands: one clear line, and the folder is left as it was."""

import copy
import importlib
import json
import shutil
from pathlib import Path

import pytest
import yaml

from stages.runtime.errors import UserError
from tests.bad_input.conftest import PAIR, STAGES, assert_refused, tiny_params, tree

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("module", "words", "hint"),
    [
        ("data.fetch", ("mnist",), "did you mean 'mnistm'?"),
        ("data.prepare", ("mnist",), "did you mean 'mnistm'?"),
        ("data.prepare", ("copy",), "'copy'"),
        ("data.import_folder", ("mine",), "'mine'"),
        ("data.pair", ("mnistm-mfea",), f"did you mean '{PAIR}'?"),
        ("data.pair", ("../../etc",), "'"),
        ("adaptation.train", ("mnistm-mfea", "dann", 0), f"did you mean '{PAIR}'?"),
        ("adaptation.train", (PAIR, "dan", 0), "did you mean 'dann'?"),
        ("adaptation.evaluate", (PAIR, "dan", 0), "did you mean 'dann'?"),
        ("adaptation.embed", (PAIR, "dan"), "did you mean 'dann'?"),
        ("evaluation.statistics", ("inceptoin",), "did you mean 'inception'?"),
        ("evaluation.evaluate_stylegan2", (0, "inceptoin"), "inceptoin"),
        ("generation.sample", ("acgan-O",), "did you mean 'acgan-0'?"),
        ("adaptation.predict", (f"{PAIR}-dan-0", "."), f"did you mean '{PAIR}-dann-0'?"),
    ],
)
def test_an_unknown_word_is_answered_with_the_nearest(project, module, words, hint):
    before = tree()
    with pytest.raises(UserError) as raised:
        importlib.import_module(f"stages.{module}").main(*words)
    assert hint in str(raised.value)
    assert tree() == before


READERS = sorted({stage.module: stage for stage in STAGES.values() if stage.module != "adaptation.evaluate"})


@pytest.mark.parametrize("module", READERS)
def test_wrong_params_stop_a_stage_before_it_reads_or_writes(project, module):
    content = copy.deepcopy(tiny_params())
    content["judge"]["steps"] = "many"
    Path("params.yaml").write_text(yaml.safe_dump(content))
    shutil.rmtree("data")
    name = next(name for name, stage in STAGES.items() if stage.module == module)
    assert_refused(name, "params.yaml: judge.steps: is 'many'; must be a whole number")


def test_the_command_line_says_it_in_one_line(project, monkeypatch, capsys):
    from stages.evaluation import evaluate_acgan
    from stages.runtime import stage

    Path("results/judge/evaluation.json").write_text(json.dumps({}))
    monkeypatch.setattr("sys.argv", ["evaluate_acgan", "0"])
    monkeypatch.setattr(stage.interruption, "end_with_dvc", lambda: None)
    monkeypatch.setattr(stage.interruption, "raise_interrupted", lambda: None)
    before = tree()
    with pytest.raises(SystemExit) as ended:
        stage.run(evaluate_acgan.main)
    assert str(ended.value).startswith("error: results/judge/evaluation.json") and "\n" not in str(ended.value)
    assert tree() == before
