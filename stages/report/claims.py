"""ablation.yaml: claims about what makes the figures good, and the settings of params.yaml that put each to the test."""

import hashlib
import json
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationError

from stages.runtime import params
from stages.runtime.errors import UserError, not_among
from stages.runtime.values import Group

# Stands in a figure's key for the name of the setting.
SETTING = "SETTING"


def _name(name: str) -> str:
    if not name.isascii() or not name.replace("-", "").replace("_", "").isalnum():
        raise ValueError(f"is {name[:60]!r}; a name is letters, digits, - and _")
    return name


Name = Annotated[str, AfterValidator(_name)]
# Words with spaces between, in none of which a space can stand.
Overrides = Annotated[str, AfterValidator(str.split)]


class Entry(Group):
    """What is claimed, and the settings that show it, from the one that should do worst to the one that should do best."""

    claim: str
    settings: Annotated[dict[Name, Overrides], Field(min_length=2)]
    figure: str | None = None
    better: Literal["higher", "lower"] | None = None


class Part(Group):
    """Claims about one part of the study: overrides that all their settings share, and the figure of those that name none."""

    overrides: Overrides
    figure: str
    better: Literal["higher", "lower"]
    claims: Annotated[dict[Name, Entry], Field(min_length=1)]


class File(Group):
    parts: Annotated[dict[Name, Part], Field(min_length=1)]


@dataclass(frozen=True)
class Setting:
    """One setting of a claim: what `dvc exp run -S` is given, and the key of metrics/summary.json that is read."""

    claim: str
    name: str
    overrides: tuple[str, ...]
    figure: str


@dataclass(frozen=True)
class Claim:
    """A claim by its name, in words, with its settings in the order in which they should get better."""

    name: str
    words: str
    better: str
    settings: tuple[Setting, ...]


def read(path: str | Path = "ablation.yaml") -> list[Claim]:
    """The claims of the file in its order; UserError with one line for what is wrong in it."""
    # Here, since it takes a third of a second.
    from dvc.exceptions import DvcException
    from dvc.utils.serialize import load_yaml

    try:
        parts = File.model_validate({"parts": load_yaml(path)}).parts
    except FileNotFoundError:
        raise UserError(f"{path} is missing: it holds the claims") from None
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in problem["loc"][1:])
        said = str(problem["ctx"]["error"]) if problem["type"] == "value_error" else problem["msg"]
        raise UserError(f"{path}: {place}: {' '.join(said.split())}") from None
    except (DvcException, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no valid YAML: {' '.join(str(error.__cause__ or error).split())}") from None
    found = [_tested(name, claim, part) for part in parts.values() for name, claim in part.claims.items()]
    names = [claim.name for claim in found]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{path}: two claims are called {name}")
    return found


def _tested(name: str, claim: Entry, part: Part) -> Claim:
    key = claim.figure or part.figure
    settings = [
        Setting(name, setting, (*part.overrides, *overrides), key.replace(SETTING, setting))
        for setting, overrides in claim.settings.items()
    ]
    return Claim(name, claim.claim, claim.better or part.better, tuple(settings))


def chosen(claims: list[Claim], names: str) -> list[Claim]:
    """Those of the claims that `names` lists with spaces between, all where it is empty; UserError for one that is unknown."""
    wanted = names.split()
    known = [claim.name for claim in claims]
    for name in wanted:
        if name not in known:
            raise UserError(f"ONLY names {not_among(name, known)}")
    return [claim for claim in claims if not wanted or claim.name in wanted]


def effective(overrides: Iterable[str], path: str | Path = "params.yaml") -> params.Params:
    """The validated params of the file with overrides, applied as `dvc exp run -S` applies them; UserError for a wrong one."""
    from dvc.exceptions import DvcException
    from dvc.utils.hydra import apply_overrides

    content = params.load(path).model_dump_json(exclude_unset=True)
    with tempfile.TemporaryDirectory() as folder:
        # What it does to YAML, with all comments, takes a second.
        changed = Path(folder) / "params.json"
        changed.write_text(content, encoding="utf-8")
        try:
            apply_overrides(changed, list(overrides))
            return params.validated(json.loads(changed.read_text(encoding="utf-8")), changed)
        except DvcException as error:
            raise UserError(str(error.__cause__ or error).partition("\n")[0]) from None
        except UserError as error:
            raise UserError(str(error).removeprefix(f"{changed}: ")) from None


def identity(settings: params.Params, code: str) -> str:
    """Eight hex digits that are the same for the same params and code, whatever the order of the overrides."""
    content = json.dumps([settings.model_dump(exclude_unset=True), code], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:8]


def check_figure(key: str, settings: params.Params, figures: Iterable[str]) -> None:
    """UserError if a run of these params won't have the figure; `figures` are those of the present run."""
    known = {name for name in figures if not name.startswith("adaptation.")} | set(_of_adaptation(settings))
    if key not in known:
        raise UserError(f"figure {not_among(key, sorted(known))}")


def _of_adaptation(settings: params.Params) -> Iterator[str]:
    adaptation = settings.adaptation
    measures = ["accuracy", "proxy_a_distance", *(["oracle_dev_accuracy"] if adaptation.images.oracle_dev else [])]
    for pair in adaptation.pairs:
        for method in (*adaptation.methods, "target_only"):
            yield from (f"adaptation.{pair}.{method}.{measure}" for measure in measures)
