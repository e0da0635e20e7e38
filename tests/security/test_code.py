"""The code below stages/ does none of the things by which bytes, names or params from outside could get at the machine."""

import ast
from pathlib import Path

import jinja2
import pytest
import yaml

from stages.report.render import HTML
from stages.runtime import params

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "stages").rglob("*.py"))

# Calls that are never right, by full name; what ends in a dot stands for everything in that module.
NEVER = {
    "eval": "runs text as code",
    "exec": "runs text as code",
    "compile": "makes code of text",
    "__import__": "imports by a made-up name",
    "input": "waits for someone who isn't there",
    "os.system": "goes through a shell",
    "os.popen": "goes through a shell",
    "subprocess.getoutput": "goes through a shell",
    "subprocess.getstatusoutput": "goes through a shell",
    "asyncio.create_subprocess_shell": "goes through a shell",
    "tempfile.mktemp": "gives a name that another may take",
    "yaml.load_all": "is not needed",
    "yaml.unsafe_load": "makes any object",
    "yaml.unsafe_load_all": "makes any object",
    "yaml.full_load": "makes many objects",
    "pandas.read_pickle": "unpickles",
    "numpy.lib.format.read_array": "may unpickle",
    "torch.jit.load": "reads code",
    "torch.serialization.load": "is torch.load under another name",
    "importlib.__import__": "imports by a made-up name",
    "torch.hub.load": "downloads and runs code",
    "torch.hub.load_state_dict_from_url": "downloads without a full checksum",
    "urllib.request.urlretrieve": "downloads without a checksum",
    "shutil.unpack_archive": "unpacks whatever the archive says",
    "markupsafe.Markup": "shows text as HTML",
    "jinja2.Markup": "shows text as HTML",
}
METHODS_NEVER = {"extractall": "unpacks whatever the archive says"}
MODULES_NEVER = (
    "dill",
    "cloudpickle",
    "shelve",
    "marshal",
    "jsonpickle",
    "joblib",
    "xmlrpc",
    "ftplib",
    "telnetlib",
    "socketserver",
)
NETWORK = ("urllib.request", "urllib3", "requests", "http.client", "socket", "pooch", "ftplib", "httpx", "aiohttp")
# Who downloads; everything else works on files.
DOWNLOADERS = {"stages/data/fetch.py", "stages/data/download.py"}
# Modules by a name that was first compared with the list of methods.
IMPORTERS = {"stages/adaptation/method.py"}
# The unpickler that makes arrays of numbers and nothing else.
UNPICKLER = "stages/data/formats.py"


def complaints(source: str, file: str = "stages/x.py") -> list[str]:
    """What is wrong with a module's source, each with its line."""
    tree = ast.parse(source)
    names = imported(tree)
    found = [f"{node.lineno}: {text}" for node in ast.walk(tree) for text in _of_node(node, names, file)]
    return [f"{file}:{text}" for text in found]


def imported(tree: ast.AST) -> dict[str, str]:
    """What each imported name stands for, by its full name."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {
                alias.asname or alias.name.split(".")[0]: alias.name if alias.asname else alias.name.split(".")[0]
                for alias in node.names
            }
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return names


def full_name(node: ast.AST, names: dict[str, str]) -> str:
    """`np.load` as `numpy.load`; an empty word for what is no plain name."""
    if isinstance(node, ast.Attribute):
        before = full_name(node.value, names)
        return f"{before}.{node.attr}" if before else ""
    return names.get(node.id, node.id) if isinstance(node, ast.Name) else ""


def _of_node(node: ast.AST, names: dict[str, str], file: str):
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield from _of_import(node, file)
    elif isinstance(node, ast.Call):
        yield from _of_call(node, full_name(node.func, names), names, file)
    elif isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Load):
        name = full_name(node, names).removeprefix("builtins.")
        if name in NEVER:
            yield f"{name} {NEVER[name]}"
        harmless = name in ("pickle.UnpicklingError", "pickle.PickleError") or (name, file) == ("pickle.Unpickler", UNPICKLER)
        if name.startswith(("pickle.", "_pickle.")) and not harmless:
            yield f"{name} unpickles"
        if name in ("yaml.Loader", "yaml.UnsafeLoader", "yaml.FullLoader", "yaml.CLoader"):
            yield f"{name} makes objects"


def _of_import(node: ast.Import | ast.ImportFrom, file: str):
    modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
    if isinstance(node, ast.ImportFrom):
        modules += [f"{node.module}.{alias.name}" for alias in node.names]
    if any(alias.name == "*" for alias in node.names):
        yield "a star hides what is imported"
    for module in modules:
        if module.split(".")[0] in MODULES_NEVER:
            yield f"{module} is not to be imported"
        if file not in DOWNLOADERS and any(module == name or module.startswith(f"{name}.") for name in NETWORK):
            yield f"{module} reaches the network"


def _of_call(node: ast.Call, name: str, names: dict[str, str], file: str):
    keywords = {keyword.arg: keyword.value for keyword in node.keywords}
    if isinstance(node.func, ast.Attribute) and node.func.attr in METHODS_NEVER:
        yield f"{node.func.attr} {METHODS_NEVER[node.func.attr]}"
    if name == "torch.load" and not _is(keywords.get("weights_only"), True):
        yield "torch.load without weights_only=True unpickles"
    if name == "numpy.load" and not _is(keywords.get("allow_pickle"), False):
        yield "numpy.load without allow_pickle=False may unpickle where its default changes"
    if name == "yaml.load" and not (file == "stages/runtime/params.py" and full_name(keywords.get("Loader"), names) == "_Loader"):
        yield "yaml.load without the safe loader makes objects"
    if name.startswith(("os.exec", "os.spawn", "os.posix_spawn")):
        yield f"{name} starts a program"
    if name.startswith("subprocess."):
        if "shell" in keywords:
            yield "shell= goes through a shell"
        if "args" in keywords or None in keywords or not node.args or not isinstance(node.args[0], ast.List | ast.Name):
            yield "a command is a list of words, and its options are spelt out"
    if name == "importlib.import_module" and file not in IMPORTERS:
        yield "imports by a made-up name"
    if name == "jinja2.Environment" and not _is(keywords.get("autoescape"), True):
        yield "jinja2 without autoescape=True shows data as HTML"
    if "download" in keywords and not _is(keywords["download"], False):
        yield "a data set that downloads by itself"
    if "verify" in keywords and _is(keywords["verify"], False):
        yield "https without its certificates"


def _is(node: ast.AST | None, value: bool) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


@pytest.mark.parametrize("file", FILES)
def test_nothing_dangerous_is_in(file):
    assert complaints((ROOT / file).read_text(encoding="utf-8"), file) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle\npickle.load(f)",
        "import pickle as p\np.loads(b)",
        "from pickle import loads\nloads(b)",
        "from pickle import Unpickler as U\nU(f).load()",
        "import _pickle\n_pickle.load(f)",
        "import joblib",
        "from dill import loads",
        "import torch\ntorch.load(f)",
        "import torch as t\nt.load(f, weights_only=False)",
        "from torch import load\nload(f, weights_only=flag)",
        "import numpy as np\nnp.load(f)",
        "import numpy as np\nnp.load(f, allow_pickle=True)",
        "import pandas as pd\npd.read_pickle(f)",
        "import yaml\nyaml.load(f, Loader=yaml.Loader)",
        "import yaml\nyaml.unsafe_load(f)",
        "eval(x)",
        "exec(x)",
        "import os\nos.system(x)",
        "from os import system\nsystem(x)",
        "import os\nrun = os.system\nrun(x)",
        "import builtins\nbuiltins.eval(x)",
        "import torch\ntorch.serialization.load(x)",
        "import importlib\nimportlib.__import__(x)",
        "from pickle import *\nloads(b)",
        "import subprocess\nsubprocess.run('a ' + b)",
        "import subprocess\nsubprocess.run(args='a')",
        "import subprocess\nsubprocess.run(command, **options)",
        "import os\nos.execvp(x, y)",
        "import subprocess\nsubprocess.run(x, shell=True)",
        "import subprocess\nsubprocess.run('ls')",
        "import subprocess\nsubprocess.run(f'ls {x}')",
        "from subprocess import getoutput\ngetoutput(x)",
        "archive.extractall(folder)",
        "import shutil\nshutil.unpack_archive(x)",
        "import urllib.request",
        "from urllib import request",
        "from urllib.request import urlopen",
        "import requests",
        "def f():\n    import socket",
        "import importlib\nimportlib.import_module(x)",
        "from jinja2 import Environment\nEnvironment()",
        "from markupsafe import Markup\nMarkup(x)",
        "MNIST(root, download=True)",
        "session.get(x, verify=False)",
        "import tempfile\ntempfile.mktemp()",
    ],
)
def test_each_of_these_would_be_found(source):
    assert complaints(source)


def test_the_params_loader_is_the_safe_one():
    assert issubclass(params._Loader, yaml.SafeLoader)
    tags = [tag for tag in params._Loader.yaml_constructors if tag and "python" in tag]
    assert tags == [] and params._Loader.yaml_multi_constructors == {}


@pytest.mark.parametrize("file", sorted(path.name for path in HTML.glob("*.html")))
def test_the_pages_mark_nothing_as_safe(file):
    words = {(kind, word) for _, kind, word in jinja2.Environment().lex((HTML / file).read_text(encoding="utf-8"))}
    assert ("name", "safe") not in words
    assert ("name", "autoescape") not in words
