"""Params: every preset is valid; a wrong value, a missing or a misspelt key is one line that names it."""

import copy
import re
from pathlib import Path

import pytest
import yaml

from stages.runtime import params
from stages.runtime.errors import UserError
from tests.runtime.conftest import EMPTY

ROOT = Path(__file__).resolve().parents[2]
PRESETS = sorted((ROOT / "presets").glob("*.yaml"))


def keys(content: dict, prefix: str = "") -> set[str]:
    """All dotted keys; what stands below data.datasets and adaptation.pairs is a preset's own choice."""
    found = set()
    for name, value in content.items():
        key = f"{prefix}{name}"
        found.add(key)
        if isinstance(value, dict) and key not in ("data.datasets", "adaptation.pairs"):
            found |= keys(value, f"{key}.")
    return found


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_every_preset_is_valid_and_has_the_same_keys(path):
    params.load(path)
    laptop = yaml.safe_load((ROOT / "presets/laptop.yaml").read_text())
    assert keys(yaml.safe_load(path.read_text())) == keys(laptop)


def test_the_default_is_the_laptop_preset():
    assert (ROOT / "params.yaml").read_text() == (ROOT / "presets/laptop.yaml").read_text()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"judge__stepz": 1}, "judge.stepz: there is no key 'stepz'; did you mean 'steps'? ("),
        ({"judge__[key]": 1}, "judge.[key]: there is no key '[key]'"),
        ({"judge__steps": None}, "judge.steps: is missing"),
        ({"judge__steps": "many"}, "judge.steps: is 'many'; must be a whole number"),
        ({"judge__steps": 1.5}, "judge.steps: is 1.5; must be a whole number"),
        ({"judge__steps": True}, "judge.steps: is true; must be a whole number"),
        ({"judge__steps": 0}, "judge.steps: is 0; must be more than 0"),
        ({"judge__steps": 10**400}, "judge.steps: is 1000"),
        ({"judge__lr": float("nan")}, "judge.lr: is nan; must be a finite number"),
        ({"judge__lr": float("inf")}, "judge.lr: is inf; must be a finite number"),
        ({"judge__lr": "small"}, "judge.lr: is 'small'; must be a number"),
        ({"judge__precision": "fp23"}, "judge.precision: is 'fp23'; did you mean 'fp32'? (fp32, bf16)"),
        ({"judge__dataset": "mnist"}, "judge.dataset is 'mnist'; did you mean 'mnistm'? (mfeat, mnistm, orl, syn)"),
        ({"judge__dataset": "celeba"}, "judge.dataset is celeba, which is neither among data.datasets nor data.folders"),
        ({"judge__dataset": "orl"}, "judge.dataset is orl, which holds faces"),
        ({"judge__dataset": "syn"}, "judge.dataset is syn, whose side of 32 (data.datasets.syn.size) must be 28"),
        ({"training__compile": "yes"}, "training.compile: is 'yes'; must be true or false"),
        ({"training__deterministic": 1}, "training.deterministic: is 1; must be true or false"),
        ({"training__compiled": True}, "training.compiled: there is no key 'compiled'; did you mean 'compile'?"),
        ({"training": None}, "training: is missing"),
        ({"judge__dataset": "mfeat"}, "judge.dataset is mfeat, but is to score mnistm (acgan.dataset)"),
        ({"acgan__dataset": "mfeat"}, "judge.dataset is mnistm, but is to score mfeat (acgan.dataset)"),
        (
            {"adaptation__dsn__steps": 100},
            "adaptation.dsn: steps 100 must go beyond similarity_start 100",
        ),
        ({"acgan__dataset": "syn"}, "acgan.dataset is syn, whose side of 32 (data.datasets.syn.size) must be 28"),
        ({"data__datasets__mnist": {"seed": 0}}, "data.datasets.mnist: there is no key 'mnist'; did you mean 'mnistm'?"),
        ({"data__datasets__orl": EMPTY}, "data.datasets: orl is empty"),
        ({"data__datasets__mnistm__source": "offical"}, "data.datasets.mnistm.source: is 'offical'; did you mean 'official'?"),
        ({"data__folders": {"My": "/x"}}, "data.folders.My: a name is a letter and up to 63 more of a-z"),
        ({"data__folders": {"n" * 65: "/x"}}, "a name is a letter and up to 63 more"),
        ({"data__folders": {"a-b": "/x"}}, "data.folders.a-b: a name is a letter"),
        ({"data__folders": {"mine": "x"}}, "data.folders.mine: is 'x'; must be the absolute path of a folder"),
        ({"data__folders": {"mine": "/"}}, "data.folders.mine: is '/'; must be the absolute path of a folder"),
        ({"data__folders": {"mine": "/a\nb"}}, "data.folders.mine: is '/a\\nb'; must be"),
        ({"data__folders": {"mine": 3}}, "data.folders.mine: is 3; must be a word"),
        ({"data__folders": {"orl": "/x"}}, "data: orl stands both in datasets and in folders"),
        ({"data__mirror": "mirror"}, "data.mirror: is 'mirror'; must be /PATH, file:/PATH, http://HOST or https://HOST"),
        (
            {"data__mirror": "HTTP://host/"},
            "data.mirror: is 'HTTP://host/'; must be /PATH, file:/PATH, http://HOST or https://HOST, in small",
        ),
        ({"data__mirror": "ftp://host/"}, "data.mirror: is 'ftp://host/'; must be"),
        ({"data__mirror": "http:///x"}, "data.mirror: is 'http:///x'; must be"),
        ({"data__mirror": "http://[::1"}, "data.mirror: is 'http://[::1' (Invalid IPv6 URL); must be"),
        ({"data__mirror": "http://host:99999"}, "data.mirror: is 'http://host:99999' (Port out of range"),
        ({"data__mirror": "file:there"}, "data.mirror: is 'file:there'; must be"),
        ({"data__mirror": "http://h/?a=1"}, "? and # can't stand in it"),
        ({"data__mirror": "https://me:secret@host/"}, "data.mirror: holds a user's name or password"),
        ({"stylegan2__seeds": []}, "stylegan2.seeds: is a list of 0; must hold at least 1"),
        ({"stylegan2__seeds": [0, 1, 0]}, "stylegan2.seeds: names 0 twice"),
        ({"stylegan2__seeds": [-1]}, "stylegan2.seeds.0: is -1; must be at least 0"),
        ({"stylegan2__dataset": "mnistm"}, "stylegan2.dataset is mnistm, whose side of 28 (fixed) is no power of two"),
        (
            {"data__datasets__orl__size": 48},
            "stylegan2.dataset is orl, whose side of 48 (data.datasets.orl.size) is no power of two",
        ),
        ({"stylegan2__network__attention_layers": [1, 5]}, "stylegan2.network.attention_layers: [1, 5] go beyond the 4 blocks"),
        ({"stylegan2__network__attention_layers": [1, 1]}, "stylegan2.network.attention_layers: names 1 twice"),
        ({"stylegan2__network__minibatch_stddev": 1}, "stylegan2.network: minibatch_stddev is 1: one image does not differ"),
        ({"stylegan2__network__minibatch_stddev": 5}, "stylegan2: network.minibatch_stddev 5 must divide the 8 images"),
        ({"stylegan2__train__ema_rampup": 0.0}, "stylegan2.train.ema_rampup: is 0.0; must be more than 0"),
        ({"stylegan2__train__accumulation": 5}, "stylegan2.train: batch_size 8 can't be split into 5"),
        (
            {"stylegan2__train__augment": ["flop"]},
            "stylegan2.train.augment.0: is 'flop'; did you mean 'flip'? (flip, translation, ",
        ),
        ({"acgan__train__fit": "resize"}, "acgan: train.fit resize goes with sample.form clean or report"),
        ({"acgan__sample__form": "clean"}, "acgan: train.fit pad goes with sample.form crop"),
        ({"acgan__train__augment": ["flip"]}, "acgan.train.augment.0: is 'flip', which is not known (translation, brightness, "),
        ({"adaptation__methods": ["dann", "dann"]}, "adaptation.methods: names dann twice"),
        (
            {"adaptation__methods": ["dan"]},
            "adaptation.methods.0: is 'dan'; did you mean 'dann'? (source_only, dann, dsn, mean_teacher)",
        ),
        (
            {"adaptation__methods": ["zzz"]},
            "adaptation.methods.0: is 'zzz', which is not known (source_only, dann, dsn, mean_teacher)",
        ),
        ({"adaptation__pairs": {}}, "adaptation.pairs: is {}; must hold at least 1"),
        ({"adaptation__pairs__a": {}}, "adaptation.pairs.a: a pair's name is two names with a hyphen"),
        (
            {"adaptation__pairs__syn-mnistm__sorce": 1},
            "adaptation.pairs.syn-mnistm.sorce: there is no key 'sorce'; did you mean 'source'?",
        ),
        ({"adaptation__pairs__syn-mnistm__target": "orl"}, "adaptation.pairs.syn-mnistm.target is orl, which holds faces"),
        (
            {"adaptation__pairs__syn-mnistm__target": "usp"},
            "adaptation.pairs.syn-mnistm.target is 'usp', which is not known (mfeat, ",
        ),
        ({"adaptation__pairs__syn-mnistm__target": "syn"}, "adaptation.pairs.syn-mnistm: source and target are both 'syn'"),
        ({"adaptation__dsn__similarity_start": 1500}, "adaptation.dsn: lambda_steps 1500 must come after similarity_start 1500"),
        (
            {"adaptation__common__selection": "target_entropy", "adaptation__common__snapshots": 0},
            "adaptation.common: snapshots 0 leaves target_entropy nothing to choose from (selection)",
        ),
        ({"adaptation__images__oracle_dev": -1}, "adaptation.images.oracle_dev: is -1; must be at least 0"),
        ({"embedding__perplexity": 1000.0}, "embedding: perplexity 1000.0 must be below the 1000 points"),
        ({"embedding": "much"}, "embedding: is 'much'; must be a group of keys"),
        ({"evaluation__extractors": ["inceptoin"]}, "evaluation.extractors.0: is 'inceptoin'; did you mean 'inception'? ("),
        (
            {"evaluation__metrics__splits": 1001},
            "evaluation.metrics.splits is 1001, more than the 1000 samples of stylegan2.sample.",
        ),
        (
            {"evaluation__metrics__neighbours": 80},
            "evaluation.metrics.neighbours is 80, too many for the 80 images of orl's test split",
        ),
        (
            {"acgan__sample__per_class": 3},
            "evaluation.metrics.neighbours is 3, too many for the 3 images of acgan.sample.per_class",
        ),
        ({"\x1b[31m": 1}, "'\\x1b[31m': there is no key"),
    ],
    ids=lambda value: next(iter(value)).encode("unicode_escape").decode()[:60] if isinstance(value, dict) else "",
)
def test_a_wrong_value_is_one_line_that_names_its_key(edited, changes, words):
    path = edited(**changes)
    with pytest.raises(UserError) as raised:
        params.load(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert words in str(raised.value)
    assert str(raised.value).isprintable()


def test_a_folder_s_faces_have_a_side_that_the_network_can_draw(edited):
    own = {"data__folders": {"mine": "/faces"}, "stylegan2__dataset": "mine"}
    assert params.load(edited(**own, data__folder_face_size=64)).stylegan2.dataset == "mine"
    with pytest.raises(
        UserError, match=r"stylegan2.dataset is mine, whose side of 48 \(data.folder_face_size\) is no power of two"
    ):
        params.load(edited(**own, data__folder_face_size=48))


@pytest.mark.parametrize(
    "mirror",
    [EMPTY, "/mnt/mirror", "/mnt/my mirror", "file:/mnt/mirror", "file:///mnt/mirror", "http://host", "https://host:8/a/b"],
)
def test_a_mirror_is_a_folder_or_an_address(edited, mirror):
    assert params.load(edited(data__mirror=mirror)).data.mirror == (None if mirror is EMPTY else mirror)


def leaves(schema: dict, value, defs: dict, key: str = ""):
    """Every value of a preset that is no group, with its dotted key and its part of the JSON schema that pydantic derives."""
    options = schema.get("anyOf", [schema])
    plain = [defs[option["$ref"].split("/")[-1]] if "$ref" in option else option for option in options]
    if not isinstance(value, dict):
        yield key, plain
        if isinstance(value, list) and value:
            yield from leaves(plain[0]["items"], value[0], defs, f"{key}.0")
        return
    for name, below in value.items():
        part = plain[0].get("properties", {}).get(name) or plain[0]["additionalProperties"]
        yield from leaves(part, below, defs, f"{key}.{name}" if key else name)


VALUES = {
    "null": [None],
    "boolean": [True, False],
    "integer": [],
    "number": [1.5, float("nan"), float("inf"), float("-inf")],
    "string": ["", "no such word", "1"],
    "array": [[[]], [None], [{}]],
    "object": [{}, {"a": 1}],
}


def wrong_values(options: list[dict]):
    """Values that this part of the schema must refuse: of every other type, and just beyond each of its limits."""
    types = {
        option.get("type", "string" if "enum" in option or isinstance(option.get("const"), str) else "integer")
        for option in options
    }
    for kind, values in VALUES.items():
        if kind not in types:
            yield from values
    for option in options:
        yield from [option["minimum"] - 1] if "minimum" in option else []
        yield from [option["maximum"] + 1, 10**400] if "maximum" in option else []
        yield from [option["exclusiveMinimum"]] if "exclusiveMinimum" in option else []
        yield from [option["exclusiveMaximum"]] if "exclusiveMaximum" in option else []
        yield from [[]] if "minItems" in option else []
    if types == {"number"}:
        yield from [float("nan"), float("inf"), float("-inf"), 10**400]
    if types & {"integer", "number"}:
        yield -(10**400)
    if any("enum" in option or "const" in option for option in options):
        yield from ["", "no such word", 29]


def with_value(content: dict, key: str, value) -> dict:
    """A copy of the content with one value replaced."""
    copied = copy.deepcopy(content)
    *groups, last = [int(part) if part.isdigit() else part for part in key.split(".")]
    place = copied
    for group in groups:
        place = place[group]
    place[last] = value
    return copied


SCHEMA = params.Params.model_json_schema()


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_every_value_of_every_preset_is_refused_when_of_another_type_or_out_of_range(path):
    content = yaml.safe_load(path.read_text())
    refused = 0
    for key, options in leaves(SCHEMA, content, SCHEMA["$defs"]):
        for value in wrong_values(options):
            with pytest.raises(UserError) as raised:
                params.validated(with_value(content, key, value))
            message = str(raised.value)
            assert message.isprintable(), (key, value)
            assert message.startswith(f"params.yaml: {key}"), (key, value, message)
            assert len(message) < 400, (key, value, message)
            refused += 1
    assert refused > 1000


def test_every_key_of_every_group_is_missed_and_a_misspelt_one_named():
    content = yaml.safe_load((ROOT / "presets/laptop.yaml").read_text())
    optional = [f"data.datasets.{name}" for name in content["data"]["datasets"]]
    optional += [f"adaptation.pairs.{name}" for name in content["adaptation"]["pairs"]]
    for key in sorted(all_keys(content)):
        *groups, last = key.split(".")
        misspelt = copy.deepcopy(content)
        place = misspelt
        for group in groups:
            place = place[group]
        value = place.pop(last)
        if key not in optional:
            with pytest.raises(UserError, match=f"^params.yaml: {re.escape(key)}: is missing$"):
                params.validated(misspelt)
            place[f"{last}x"] = value
            with pytest.raises(UserError, match=f"{re.escape(key)}x: there is no key '{last}x'; did you mean '"):
                params.validated(misspelt)


def all_keys(content: dict, prefix: str = ""):
    for name, value in content.items():
        yield f"{prefix}{name}"
        if isinstance(value, dict):
            yield from all_keys(value, f"{prefix}{name}.")
