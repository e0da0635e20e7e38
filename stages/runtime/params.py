"""Reading params.yaml: a strict schema, and one clear line for whatever does not fit it.

`python -m stages.runtime.params` checks the whole file.
"""

import re
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from stages.runtime.errors import UserError, not_among
from stages.runtime.schema import Params
from stages.runtime.stage import run

# Far beyond any params file: more is a mistake, or meant to exhaust memory or the stack.
BYTES, DEPTH = 256_000, 20


def load(path: str | Path = "params.yaml") -> Params:
    """The validated params; UserError names the first key that is wrong."""
    return validated(_parsed(path), path)


def validated(content: Any, path: str | Path = "params.yaml") -> Params:
    """The params that `content` (what YAML made of the file `path`) is; UserError names the first key that is wrong."""
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{path}: {' '.join(_first(error).split())}") from None


def read(*keys: str, path: str | Path = "params.yaml") -> list[Any]:
    """The values of dotted keys, such as `stylegan2.train`; the one way in which a stage gets at its params.

    Each stage calls it once, so that what it reads can be compared with what dvc.yaml declares.
    """
    params = load(path)
    return [_select(params, key, path) for key in keys]


def main() -> None:
    load()
    print("params.yaml is valid")


class _Loader(yaml.SafeLoader):
    """PyYAML that takes plain words for numbers, null or booleans as YAML 1.2 and so DVC does: `1e-05` is a number, `no` a word.

    What no params file needs is refused: a key given twice or that is no word, tags, aliases (their expansion can exhaust
    the memory, and `dvc exp run -S` of one value would change others), and deep nesting. Numbers that YAML 1.1 and 1.2
    read differently (017, 1_000, 1:30) stay words, which no number's key admits.
    """

    yaml_implicit_resolvers: dict = {}
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node:
        event = self.peek_event()
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError(f"line {line} repeats the value *{event.anchor}: write it out")
        if event.tag:
            raise yaml.YAMLError(f"line {line} has the tag {event.tag}: leave it out")
        self.depth += 1
        if self.depth > DEPTH:
            raise yaml.YAMLError(f"line {line} is nested more than {DEPTH} levels deep")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if key.tag != "tag:yaml.org,2002:str":
                raise yaml.YAMLError(f"the key in line {line} is no word")
            if key.value in seen:
                raise yaml.YAMLError(f"key {key.value!r} is given twice, again in line {line}")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


for _tag, _pattern, _first_characters in (
    ("null", r"(~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("bool", r"(true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    ("int", r"[-+]?(0|[1-9][0-9]*)$", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*)$", list("-+.0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$", list("-+.0123456789")),
    ("float", r"([-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$", list("-+.")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern, re.ASCII), _first_characters)


def _parsed(path: str | Path) -> Any:
    """What the file says, as dicts, lists, numbers and words; UserError where that is no YAML or none of ours."""
    try:
        with Path(path).open("rb") as file:
            content = file.read(BYTES + 1)
    except FileNotFoundError:
        raise UserError(f"{path} is missing: `cp presets/laptop.yaml params.yaml` restores the default") from None
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror}") from None
    if len(content) > BYTES:
        raise UserError(f"{path} is larger than {BYTES} bytes, which no params file is")
    try:
        return yaml.load(content.decode("utf-8"), Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        place = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UserError(f"{path} is no valid YAML: {error.problem or error.context}{place}") from None
    # A number of thousands of digits is Python's ValueError, as are bytes that are no UTF-8.
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"{path} is no valid YAML: {' '.join(str(error).split())}") from None


def _select(params: Params, key: str, path: str | Path) -> Any:
    value: Any = params
    for part in key.split("."):
        known = value if isinstance(value, dict) else value.model_fields_set if isinstance(value, BaseModel) else ()
        if part not in known:
            raise UserError(f"{path} has no {key}: {not_among(part, sorted(known))}")
        value = value[part] if isinstance(value, dict) else getattr(value, part)
    return value


def _first(error: ValidationError) -> str:
    """The first problem; a key that is not known comes first, since it is why another is missing."""
    problems = error.errors(include_url=False)
    problem = min(problems, key=lambda problem: problem["type"] != "extra_forbidden")
    location = list(problem["loc"])
    # Pydantic's own word behind a dict's key that is wrong; of an unknown key, the user's.
    if location[-1:] == ["[key]"] and problem["type"] != "extra_forbidden":
        location.pop()
    key = ".".join(map(_shown_key, location))
    if problem["type"] == "extra_forbidden":
        return f"{key}: there is no key {not_among(str(location[-1]), _group_at(location[:-1]).model_fields)}"
    if problem["type"] == "missing":
        return f"{key}: is missing"
    if problem["type"] == "value_error":
        message = str(problem["ctx"]["error"])
        return f"{key}: {message}" if key else message
    if problem["type"] == "literal_error" and isinstance(problem["input"], str):
        names = re.findall("'([^']*)'", problem["ctx"]["expected"])
        return f"{key}: is {not_among(problem['input'], names)}"
    # A file without any group has no key to name.
    return f"{f'{key}: ' if key else ''}is {_shown(problem['input'])}; {_wanted(problem)}"


def _wanted(problem: dict[str, Any]) -> str:
    """What a value must be, in the words that people use."""
    context = {name: f"{limit:g}" if isinstance(limit, float) else limit for name, limit in problem.get("ctx", {}).items()}
    phrase = _PHRASES.get(problem["type"])
    return phrase.format(**context) if phrase else problem["msg"]


_PHRASES = {
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "string_type": "must be a word",
    "list_type": "must be a list",
    "dict_type": "must be a group of keys",
    "model_type": "must be a group of keys",
    "literal_error": "must be {expected}",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "too_short": "must hold at least {min_length}",
}


def _group_at(location: list[str | int]) -> type[BaseModel]:
    """The schema of the group at a place of the file."""
    kind: Any = Params
    for part in location:
        kind = get_args(kind)[1] if get_origin(kind) is dict else kind.model_fields[part].annotation
        kind = get_args(kind)[0] if isinstance(kind, UnionType) else kind
    return kind


def _shown(value: Any) -> str:
    """A value of the file, short, on one line, and as YAML writes it."""
    if isinstance(value, dict):
        return "a group of keys" if value else "{}"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def _shown_key(part: str | int) -> str:
    """A key or a list's index; one with odd characters can neither move the cursor nor break the line."""
    text = str(part)
    text = text if text.isprintable() and " " not in text else repr(text)
    return text if len(text) <= 80 else f"{text[:80]}..."


if __name__ == "__main__":
    run(main)
