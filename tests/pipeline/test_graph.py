"""dvc.yaml against the code: a stage lists the files and params that its items use, and a group none that no item of it does."""

import ast
import importlib
import inspect
import shutil
import tempfile
from functools import cache
from pathlib import Path

import pytest
import yaml
from dvc.dependency import ParamsDependency
from dvc.repo import Repo

from stages.runtime import params
from tests.pipeline.folders import of_folders

ROOT = Path(__file__).resolve().parents[2]
PRESETS = sorted(path.stem for path in (ROOT / "presets").glob("*.yaml"))
# The smoke preset on a user's own images.
FOLDERS = "folders"
GRAPHS = [*PRESETS, FOLDERS]
METHODS = "stages/adaptation/methods"
# They refuse values and change none, so that a new key in them needn't rerun what never reads it.
SCHEMA = {f"stages/runtime/{name}.py" for name in ("schema", "datasets", "values")}
# What single files import besides their own room and runtime: predict reads a user's images as the import stage does.
# The cards of the models tell of its data sets in the catalogue's words.
BESIDES = {"stages/adaptation/predict.py": {"data"}, "stages/report/cards.py": {"data"}}


@cache
def imported(file: str) -> frozenset[str]:
    """Files below stages/ that `file` imports, by its own import statements."""
    names = set()
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    files = {name.replace(".", "/") + ".py" for name in names if name.startswith("stages.")}
    return frozenset(name for name in files - SCHEMA if (ROOT / name).is_file())


def closure(*files: str) -> set[str]:
    """`files` and everything below stages/ that they import, directly or not."""
    found, waiting = set(), list(files)
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            waiting += imported(file)
    return found


def params_of(preset: str) -> str:
    """The text of a preset, or of the one on a user's own images."""
    if preset != FOLDERS:
        return (ROOT / f"presets/{preset}.yaml").read_text()
    return yaml.safe_dump(of_folders(yaml.safe_load(params_of("smoke")), Path("/faces"), Path("/digits")))


@cache
def graph(preset: str) -> dict[str, object]:
    """The graph's stages by name, as DVC reads them with a preset's params."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / ".dvc").mkdir()
        (folder / ".dvc/config").write_text("[core]\n    no_scm = true\n")
        shutil.copy(ROOT / "dvc.yaml", folder)
        (folder / "params.yaml").write_text(params_of(preset))
        return {stage.name: stage for stage in Repo(folder).index.stages}


def code_of(stage) -> set[str]:
    """The Python files that a stage lists; the page also lists its templates."""
    return {dep.def_path for dep in stage.deps if dep.def_path.startswith("stages/") and dep.def_path.endswith(".py")}


def module_of(stage) -> tuple[str, list[str]]:
    python, flag, module, *words = stage.cmd.split()
    assert (python, flag) == ("python", "-m")
    return module, words


def group_of(name: str) -> str:
    return name.split("@")[0]


def needed(stage) -> set[str]:
    module, words = module_of(stage)
    starts = [module.replace(".", "/") + ".py"]
    if module.startswith("stages.adaptation.") and words:
        starts.append(f"{METHODS}/{words[1]}.py")
    return closure(*starts)


def pytest_generate_tests(metafunc):
    if "name" in metafunc.fixturenames:
        metafunc.parametrize(("preset", "name"), [(preset, name) for preset in GRAPHS for name in graph(preset)])
    if "group" in metafunc.fixturenames:
        metafunc.parametrize("group", sorted({group_of(name) for preset in GRAPHS for name in graph(preset)}))


def test_a_stage_lists_the_code_that_it_imports(preset, name):
    stage = graph(preset)[name]
    assert needed(stage) <= code_of(stage)


def test_a_stage_lists_no_code_that_none_of_its_items_imports(group):
    items = [stage for preset in GRAPHS for name, stage in graph(preset).items() if group_of(name) == group]
    assert set().union(*map(code_of, items)) == set().union(*map(needed, items))


def test_a_stage_lists_the_params_that_it_reads(preset, name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    stage = graph(preset)[name]
    module, words = module_of(stage)
    (tmp_path / "params.yaml").write_text(params_of(preset))
    assert read_by(module, words, monkeypatch) == declared(stage)


def test_seeds_and_pairs_name_the_items():
    names = set(graph("laptop"))
    assert {
        "adapt@syn-mnistm-dann-0",
        "adapt_target@syn-mnistm-target_only-0",
        "embed@mfeat-syn-dsn",
        "train_stylegan2@0",
    } <= names
    assert {"fetch@orl", "fetch_weights@efficientnet_lite0", "prepare@mfeat", "pair@mnistm-mfeat", "summarize", "page"} <= names


def test_only_the_bound_s_training_depends_on_target_labels():
    readers = {name for name, stage in graph("laptop").items() for dep in stage.deps if dep.def_path.endswith("/target.npz")}
    assert readers and all(name.startswith("adapt_target@") for name in readers)


def test_no_adapting_stage_depends_on_test_images_before_it_is_scored():
    readers = {
        name.split("@")[0] for name, stage in graph("laptop").items() for dep in stage.deps if dep.def_path.endswith("/test.npz")
    }
    assert readers == {"evaluate_adaptation", "evaluate_target", "embed"}


@pytest.mark.parametrize("room", ["data", "generation", "adaptation", "evaluation", "report", "runtime"])
def test_rooms_import_only_what_flows_to_them(room):
    allowed = {
        "runtime": {"runtime"},
        "data": {"data", "runtime"},
        "generation": {"generation", "runtime"},
        "adaptation": {"adaptation", "runtime"},
        "evaluation": {"evaluation", "runtime"},
        "report": {"report", "runtime"},
    }[room]
    for file in (ROOT / "stages" / room).rglob("*.py"):
        name = str(file.relative_to(ROOT))
        for other in imported(name):
            assert other.split("/")[1] in allowed | BESIDES.get(name, set()), f"{file} imports {other}"


class Stop(Exception):
    pass


def read_by(module: str, words: list[str], monkeypatch) -> set[str]:
    """The keys that the stage's main asks for, recorded at its one call of `params.read`, which comes before all else."""
    stage = importlib.import_module(module)
    if "params.read(" not in inspect.getsource(stage):
        return set()
    asked, original = set(), params.read

    def record(*keys):
        original(*keys)
        asked.update(keys)
        raise Stop

    monkeypatch.setattr(params, "read", record)
    types = [parameter.annotation for parameter in inspect.signature(stage.main).parameters.values()]
    with pytest.raises(Stop):
        stage.main(*[convert(word) for convert, word in zip(types, words, strict=True)])
    return asked


def reads_params(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) == "params.read"


@pytest.mark.parametrize("file", sorted((ROOT / "stages").rglob("*.py")), ids=lambda file: str(file.relative_to(ROOT / "stages")))
def test_params_are_read_once_and_in_main(file):
    """So that what main asks for at first, which is what dvc.yaml is held against, is all that the stage is made by."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    [*mains] = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "main"]
    inside = [node for main in mains for node in ast.walk(main) if reads_params(node)]
    assert len(inside) == sum(map(reads_params, ast.walk(tree)))
    branches = [node for main in mains for node in main.body if isinstance(node, ast.If) and node.orelse]
    either = [[sum(map(reads_params, ast.walk(line))) for line in (*node.body, *node.orelse)] for node in branches]
    assert len(inside) <= 1 or (len(inside) == 2 and any(sorted(found) == [1, 1] for found in either))


def declared(stage) -> set[str]:
    return {key for dep in stage.deps if isinstance(dep, ParamsDependency) for key in dep.params}
