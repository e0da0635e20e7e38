"""What README.md and CONTRIBUTING.md name is there: commands, stages, params, files, headings, error messages."""

import csv
import importlib
import inspect
import json
import re
import tomllib
from collections import Counter
from collections.abc import Iterable
from statistics import fmean, stdev

import dvc.lock
import dvc.rwlock
import pytest
import yaml

from stages.report import claims, comparison, verdicts
from stages.report.names import NEAR_SHARE, NOVELTY
from stages.runtime import params
from stages.runtime.stage import parser_of
from tests.pipeline.clone import ROOT
from tests.pipeline.test_graph import graph

PAGES = {name: (ROOT / name).read_text() for name in ("README.md", "CONTRIBUTING.md", "data/README.md")}
PAIRS = ("syn-mnistm", "mnistm-mfeat", "mfeat-syn")
WITHOUT = "adaptation.mean_teacher.consistency_weight=0.0"
LONGER = "adaptation.dann.steps=9000 adaptation.dann.lambda_steps=9000"
every_page = pytest.mark.parametrize("page", PAGES)


def commands(page: str) -> str:
    """All blocks without a language and all words in code type of a page, one after the other."""
    text = PAGES[page]
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S)
    assert 2 * len(blocks) == len(re.findall(r"^```", text, re.M))
    words = re.findall(r"(?<!`)`([^`\n]+)`(?!`)", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S))
    return "\n".join([*(block for language, block in blocks if not language), *words])


def anchors(text: str) -> set[str]:
    """The names by which GitHub links to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@every_page
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", PAGES[page]):
        name, _, anchor = link.partition("#")
        target = ((ROOT / page).parent / name) if name else ROOT / page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text()), link


@every_page
def test_commands_name_what_there_is(page):
    said = commands(page)
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"\bmake (?:[A-Z]+=\S+ )?([a-z][a-z-]+)", said)) <= targets
    for module in re.findall(r"-m ((?:stages|benchmarks)\.[\w.]+)", said):
        assert (ROOT / f"{module.replace('.', '/')}.py").is_file() or module == "benchmarks.NAME"
    stages = {name for preset in ("laptop", "smoke") for name in graph(preset)}
    assert set(re.findall(r"(?:\brepro|-s|-f) '?([\w-]+@[\w-]+)", said)) <= stages
    for preset in re.findall(r"presets/(\w+)\.yaml", said):
        assert (ROOT / f"presets/{preset}.yaml").is_file()
    for names in re.findall(r'ONLY="([^"]*)"', said):
        assert claims.chosen(claims.read(ROOT / "ablation.yaml"), names)
    for key, value in re.findall(r"-S ([\w.]+)=([^\s,]+)", said):
        assert isinstance(params.read(key, path=ROOT / "params.yaml")[0], type(yaml.safe_load(value)))


@every_page
def test_stages_take_the_words_that_are_shown_and_runs_are_trained_by_default(page):
    outputs = {out.def_path for stage in graph("laptop").values() for out in stage.outs}
    for module, words in re.findall(r"-m (stages\.[\w.]+)((?: [\w./-]+)+)", commands(page)):
        if "--list" not in words:
            given = parser_of(importlib.import_module(module).main).parse_args(words.split())
            assert "run" not in given or f"models/{given.run}/weights.safetensors" in outputs


def test_the_verdicts_are_those_of_the_table():
    section = PAGES["README.md"].split("<summary>All figures</summary>\n")[1].split("\n</details>")[0]
    said = comparison.ablation(verdicts.finished(verdicts.read(ROOT / verdicts.PATH)))
    assert table_lines(section) == table_lines(said)


def test_the_number_of_claims_and_of_each_verdict_is_said():
    finished = verdicts.finished(verdicts.read(ROOT / verdicts.PATH))
    known = claims.read(ROOT / "ablation.yaml")
    of_each = Counter(claim[0].verdict for claim in finished)
    words = " ".join(PAGES["README.md"].split())
    number = f"All {len(known)}" if len(finished) == len(known) else f"{len(finished)} of the {len(known)}"
    assert f"{number} claims have been run" in words
    assert f"{of_each['confirmed']} are confirmed, {of_each['refuted']} refuted, {of_each['open']} open" in words


def table_lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("|")]


def readings(preset: str, changes: str = "") -> list[dict[str, str]]:
    with (ROOT / "metrics/readings.csv").open() as file:
        return [line for line in csv.DictReader(file) if (line["preset"], line["changes"]) == (preset, changes)]


def of_best_packaged(changes: str = "") -> list[dict[str, str]]:
    return readings("best_packaged", changes)


def percent(lines: Iterable[dict[str, str]], figure: str, run: str = "") -> list[float]:
    return [100 * float(line["value"]) for line in lines if line["figure"] == figure and line["run"].startswith(run)]


def last_of(lines: Iterable[dict[str, str]], step: str) -> list[dict[str, str]]:
    return [line for line in lines if line["step"] == step]


def spread(values: list[float]) -> str:
    return f"{fmean(values):.1f} ± {stdev(values):.1f}"


def test_the_accuracies_of_another_preset_are_those_that_were_read():
    words, lines = " ".join(PAGES["README.md"].split()), of_best_packaged()
    again = [line for line in lines if line["commit"] == "5b27a6c" and "mean_teacher" in line["run"]]
    lines = [line for line in lines if line not in again]
    read = {(line["run"], line["step"], line["figure"]): 100 * float(line["value"]) for line in lines}
    last = last_of(lines, "9000")
    said = ", ".join(spread(percent(last, "accuracy", pair)) for pair in PAIRS)
    assert f"{said} %" in words.replace(" and ", ", ")
    for method in ("source_only", "dann", "dsn", "mean_teacher", "target_only"):
        ends = {line["run"]: int(line["step"]) for line in lines if f"-{method}-" in line["run"] and line["figure"] == "accuracy"}
        found = [[read[run, str(ends[run]), "accuracy"] for run in sorted(ends) if run.startswith(pair)] for pair in PAIRS]
        cells = [f"{spread(values)}: {', '.join(f'{value:.2f}' for value in values)}" for values in found]
        assert all(len(values) == 3 for values in found) and f"| {' | '.join(cells)} |" in words
    longer = percent(last_of(of_best_packaged(LONGER), "9000"), "accuracy")
    cell = f"{spread(longer)}: {', '.join(f'{value:.2f}' for value in longer)}"
    assert len(longer) == 3 and f"| DANN, for longer | 9,000 | {cell} | – | – |" in words
    gained = [
        fmean(percent(last_of(lines, "3000"), "accuracy", f"{PAIRS[2]}-{method}")) for method in ("source_only", "dann", "dsn")
    ]
    said = "in `best_packaged`'s 3,000 DANN adds {:.0f} and DSN {:.0f}."
    assert said.format(gained[1] - gained[0], gained[2] - gained[0]) in words
    early = [[read[f"{pair}-mean_teacher-{seed}", "3600", "accuracy"] for seed in range(3)] for pair in PAIRS]
    assert "{}, {} and {} %".format(*(f"{min(values):.1f}–{max(values):.1f}" for values in early)) in words
    runs = [f"mnistm-mfeat-dann-{seed}" for seed in range(3)]
    assert [round(fmean(read[run, "3000", f"per_class.{digit}"] for digit in (1, 7))) for run in runs] == [5, 5, 99]
    assert "with it 99 of 100 test images of ones and sevens are read, with the two others 5 each" in words
    first, second = (percent(last_of(again, "9000"), "accuracy", pair) for pair in PAIRS[:2])
    assert "had {:.2f} and {:.2f} % on syn → mnistm (seeds 0 and 1)".format(*first) in words
    assert "{:.2f} and {:.2f} % on mnistm → mfeat (seeds 0 and 2)".format(*second) in words
    without = percent(last_of(of_best_packaged(WITHOUT), "9000"), "accuracy")
    assert "it has {:.2f}, {:.2f} and {:.2f} % on syn → mnistm".format(*without) in words
    assert f"gets {spread(without)} % on syn → mnistm, and {spread(percent(last, 'accuracy', PAIRS[0]))} with 3" in words

    def distances(lines: list[dict[str, str]], *methods: str) -> str:
        of_them = [line for line in lines if line["figure"] == "proxy_a_distance" and line["run"].split("-")[2] in methods]
        found = [float(line["value"]) for line in of_them]
        return f"{min(found):.2f}–{max(found):.2f}"

    assert f"of DANN and DSN is {distances(lines, 'dann', 'dsn')}, hardly lower than without" in words
    assert f"adaptation ({distances(lines, 'source_only')}), and self-ensembling's {distances(lines, 'mean_teacher')}" in words
    assert f"on target images it is {distances(of_best_packaged(WITHOUT), 'mean_teacher')}" in words


def test_the_regrets_of_another_preset_are_those_that_were_read():
    words = " ".join(PAGES["README.md"].split())
    lines = [line for line in of_best_packaged() if line["figure"].startswith("regret.")]
    lines = [line for line in lines if line["commit"] != "5b27a6c" or "mean_teacher" not in line["run"]]
    ours = [line for line in lines if "mean_teacher" in line["run"]]
    rules = ("last", "confident_share", "target_entropy", "soft_neighbourhood_density")
    largest, means = [], []
    for rule in rules:
        by_run = [
            percent(lines, f"regret.{rule}", f"{pair}-{method}") for pair in PAIRS for method in ("dann", "dsn", "mean_teacher")
        ]
        assert [len(values) for values in by_run] == [3] * 9
        largest.append(f"{max(map(max, by_run)):.1f}")
        means.append(f"{max(map(fmean, by_run)):.1f}")
    assert f"the last step loses {largest[0]} points against the best of five snapshots at most" in words
    assert "confident share {}, target entropy {} and soft neighbourhood density {}".format(*largest[1:]) in words
    assert "where each loses most, it is {}, {}, {} and {}".format(*means) in words
    assert f"no rule loses more than {100 * max(float(line['value']) for line in ours):.1f} points" in words


def test_the_figures_of_another_preset_s_gans_are_those_that_were_read():
    words, lines = " ".join(PAGES["README.md"].split()), of_best_packaged()
    faces = {line["figure"]: float(line["value"]) for line in lines if line["run"] == "stylegan2-0"}
    shares = (100 * faces[f"clean.{name}"] for name in ("precision", "recall"))
    assert "`fd` gets to {:.1f}, precision to {:.1f} and recall to {:.1f} %".format(faces["clean.fd"], *shares) in words
    assert faces["clean.near_share"] == faces["clean.thumbnail_near_share"] == 0
    assert "none of 200 near a training face, neither in features nor as a thumbnail" in words
    accuracy, recall = (spread(percent(lines, figure, "acgan")) for figure in ("judge_accuracy", "recall"))
    assert f"with AMX {accuracy} % at {recall} %" in words
    assert f"by which nothing was chosen, reads {spread(percent(of_best_packaged('judge.seed=1'), 'judge_accuracy'))} %" in words

    def figures(changes: str, commit: str) -> list[str]:
        found = [line for line in of_best_packaged(changes) if line["commit"] == commit and line["run"] == "acgan-0"]
        return [f"{value:.1f}" for name in ("judge_accuracy", "recall", "recall_train") for value in percent(found, name)]

    ours, light = figures("", "3564bc9"), figures("acgan.train.generator_class_weight=1.0", "a144919")
    large = figures("acgan.train.batch_size=64 acgan.train.augment=[translation]", "e20675e")
    assert f"the judge reads even {large[0]} % (seed 0), but recall is {large[1]} %" in words
    assert f"{ours[2]} % of training digits are recalled, and {large[2]} % with batches of 64" in words
    assert f"with 1 it reads {light[0]} % and recalls more of them ({light[2]} %; a144919)" in words
    assert f"the judge reads {ours[0]} instead of {light[0]} %, at a recall of {ours[1]} instead of {light[1]} %" in words
    within = [float(line["value"]) for line in lines if line["run"].startswith("acgan") and line["figure"] == "fd"]
    assert f"an `fd` within a class of {spread(within)}" in words
    trials = [readings("laptop", changes) for changes in ("", "acgan.train.steps=6000")]
    read = [percent((line for line in lines if line["commit"] == "b5a991c"), "judge_accuracy") for lines in trials]
    assert [len(values) for values in read] == [3, 3]
    assert f"the judge reads {spread(read[1])} instead of {spread(read[0])} %" in words
    longer = {
        line.figure: f"{100 * line.mean:.1f} ± {100 * line.std:.1f} %"
        for line in verdicts.read(ROOT / verdicts.PATH)
        if line.name.startswith("digits-steps") and line.setting == "longer"
    }
    accuracy, recall = longer["acgan.judge_accuracy"], longer["acgan.diversity.recall"]
    assert f"the judge reads {accuracy} of its digits, at a recall of {recall}" in words


def test_what_laptop_s_digits_are_in_more_steps_is_what_was_read():
    words = " ".join(PAGES["README.md"].split())

    def figures(commit: str, changes: str = "") -> dict[str, float]:
        read = [line for line in readings("laptop", changes) if (line["commit"], line["run"]) == (commit, "acgan-0")]
        assert len({line["step"] for line in read}) == 1
        return {line["figure"]: float(line["value"]) for line in read}

    longer = "acgan.train.steps=12000 acgan.train.ema_decay=0.999 acgan.train.generator_class_weight={}"
    two, five = (figures("966c0b6", longer.format(weight)) for weight in ("2.0", "5.0"))
    recall = {f"{100 * of['recall_train']:.1f}" for of in (two, five)}
    assert len(recall) == 1
    said = f"{100 * two['judge_accuracy']:.1f} %, at the same recall as a run beside it with 5 ({recall.pop()} % each; 966c0b6)"
    assert f"(12,000 steps, `ema_decay` 0.999) {said}" in words
    before, again = figures("5c79d61"), figures("b5a991c", "acgan.train.steps=6000")
    said = f"the judge read {100 * before['judge_accuracy']:.1f} % of them and `fd` within a class was {before['fd']:.1f}"
    assert said in words
    assert f"for {100 * again['judge_accuracy']:.1f} % and {again['fd']:.1f} (b5a991c)" in words


def test_what_two_processors_make_of_one_setting_is_what_was_read():
    found = {(line.name, line.setting): line for line in verdicts.read(ROOT / verdicts.PATH)}
    lines = found["generator-class-loss-recall-train", "as_in_the_study"], found["digits-twice-as-long", "fewer"]
    first, second = (f"{100 * line.mean:.1f} ± {100 * line.std:.1f} %" for line in lines)
    assert {line.figure for line in lines} == {"acgan.diversity.recall_train"}
    words = " ".join(PAGES["README.md"].split())
    said = f"recalls {first} of training digits on the EPYC (`{lines[0].name}`) and {second} on the Xeon (`{lines[1].name}`)"
    assert said in words


def test_laptop_s_settings_for_faces_come_nearest_to_the_training_faces():
    laptop = yaml.safe_load((ROOT / "presets/laptop.yaml").read_text())["stylegan2"]["train"]
    names = ("adaptive-augmentation", "penalty-strength", "learning-rate", "batch-size", "path-length")
    lines = [line for line in verdicts.read(ROOT / verdicts.PATH) if line.name in {f"{name}-train" for name in names}]
    changes = {line: dict(word.split("=", 1) for word in line.overrides.split() if "stylegan2.train." in word) for line in lines}
    own = [line for line, change in changes.items() if all(of_laptop(laptop, *one) for one in change.items())]
    others = [line.mean for line in lines if line not in own]
    assert len(own) == len(others) == 5 and {line.verdict for line in lines} == {"open"}
    assert len({(line.mean, line.std) for line in own}) == 1 and own[0].mean < min(others)
    words = " ".join(PAGES["README.md"].split())
    assert f"(`fd` to the training faces {own[0].mean:.1f} ± {own[0].std:.1f})" in words
    assert f"than what it was tried against ({min(others):.1f} to {max(others):.1f}), none beyond chance" in words


def of_laptop(laptop: dict[str, object], key: str, value: str) -> bool:
    """Whether a setting has laptop's value, but for the number of steps that all claims on faces share."""
    name = key.removeprefix("stylegan2.train.")
    return (name == "steps" and value == "1600") or laptop[name] == yaml.safe_load(value)


def test_how_often_adaptive_augmentation_acts_and_which_digit_is_the_weakest_are_as_they_were_read():
    words, at = " ".join(PAGES["README.md"].split()), {}
    for preset in ("laptop", "best_packaged"):
        lines = [
            line for line in readings(preset) if line["figure"].startswith(("ada_p.", "per_class.")) and "gan" in line["run"]
        ]
        at[preset] = {line["figure"]: 100 * float(line["value"]) for line in lines}
    ours, longer = at["laptop"], at["best_packaged"]
    assert (
        f"its chance was {ours['ada_p.mean']:.1f} % on average in the default's run and {ours['ada_p.largest']:.0f} % at most"
        in words
    )
    assert (
        f"in `best_packaged` it was {longer['ada_p.mean']:.0f} % on average and {longer['ada_p.largest']:.0f} % at most" in words
    )
    digits = [ours[f"per_class.{digit}"] for digit in range(10)]
    summary = json.loads((ROOT / "metrics/summary.json").read_text())
    assert fmean(digits) == pytest.approx(100 * summary["acgan"]["judge_accuracy"]["mean"])
    assert f"| {fmean(digits):.1f} % | {digits.index(min(digits))}, with {min(digits):.0f} % |" in words


def test_how_new_the_default_s_faces_are_is_what_the_summary_has():
    words = " ".join(PAGES["README.md"].split())
    clean = json.loads((ROOT / "metrics/summary.json").read_text())["stylegan2"]["clean"]["efficientnet_lite0"]
    found = {name: clean[name]["mean"] for name in (*NOVELTY, *NEAR_SHARE)}
    assert f"their median distance is {found['novelty']:.2f} times theirs" in words
    assert f"again none, and {found['thumbnail_novelty']:.2f} times" in words and "Of 200 generated faces none is" in words
    assert found["near_share"] == found["thumbnail_near_share"] == 0


def test_the_layout_names_every_room_and_folder():
    section = PAGES["README.md"].split("## Where things are\n")[1].split("\n## ")[0]
    rooms = {f"stages/{path.parent.name}" for path in (ROOT / "stages").glob("*/*.py")}
    outputs = {out.def_path.split("/")[0] for stage in graph("laptop").values() for out in stage.outs}
    assert len(rooms) == 6 and len(outputs) == 7
    for name in rooms | outputs | {"presets", "tests", "benchmarks", ".github", ".ci"}:
        assert f"`{name}/`" in section, name


def test_the_errors_are_those_that_the_code_says():
    section = PAGES["README.md"].split("## Troubleshooting\n")[1].split("\n## ")[0]
    errors = [one or two for one, two in re.findall(r"^\| (?:``(.+?)``|`([^`]+)`) \|", section, re.M)]
    files = [*(ROOT / "stages").rglob("*.py"), ROOT / "Makefile"]
    of_dvc = map(inspect.getsource, (dvc.lock, dvc.rwlock))
    said = "\n".join([*(path.read_text() for path in files), *of_dvc])
    assert len(errors) > 10
    for error in errors:
        for part in error.split("…"):
            assert part in said, error


def test_the_pair_of_a_folder_is_valid():
    (pair,) = re.findall(r"^    mydigits-mnistm:\n(?:      .*\n)+", PAGES["README.md"], re.M)
    (folders,) = set(re.findall(r"^  (folders: \{mydigits: [^}]*\})", PAGES["README.md"], re.M))
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    content["adaptation"]["pairs"] |= yaml.safe_load(pair)
    content["data"] |= yaml.safe_load(folders)
    assert "mydigits-mnistm" in params.validated(content).adaptation.pairs


def test_citations_name_the_same_version():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    cff = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    title = PAGES["README.md"].splitlines()[0].removeprefix("# ")
    assert cff["version"] == version and cff["title"] == title and cff["cff-version"] == "1.2.0"
    assert f"version = {{{version}}}" in PAGES["README.md"] and f"title   = {{{title}}}" in PAGES["README.md"]
