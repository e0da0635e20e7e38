"""What a single value of params.yaml may be: numbers within limits, and words that names, folders and addresses are made of.

`schema` says which key takes which. As it does, this only refuses, and is no dependency of the stages in dvc.yaml.
"""

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

# The ceilings are those of the libraries' integers, or where memory would go before anything is learnt.
MOST, MOST_SEED = 2**31 - 1, 2**32 - 1
PositiveInt = Annotated[int, Field(gt=0, le=MOST)]
NonNegativeInt = Annotated[int, Field(ge=0, le=MOST)]
Seed = Annotated[int, Field(ge=0, le=MOST_SEED)]
BatchSize = Annotated[int, Field(gt=0, le=65_536)]
Width = Annotated[int, Field(gt=0, le=16_384)]
Side = Annotated[int, Field(ge=8, le=1024)]
Images = Annotated[int, Field(ge=2, le=10_000_000)]
Snapshots = Annotated[int, Field(ge=0, le=1000)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Beta = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
Precision = Literal["fp32", "bf16"]


def different(values: list) -> list:
    """The list, none of whose values stands in it twice."""
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"names {value} twice")
    return values


def _name(word: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", word):
        raise ValueError("a name is a letter and up to 63 more of a-z, 0-9 and _")
    return word


def _pair_name(word: str) -> str:
    if not re.fullmatch(r"[a-z0-9_]{1,64}-[a-z0-9_]{1,64}", word):
        raise ValueError("a pair's name is two names with a hyphen between them, of a-z, 0-9 and _, such as svhn-mnistm")
    return word


def _folder(path: str) -> str:
    if not path.startswith("/") or not path.strip("/") or not path.isprintable():
        raise ValueError(f"is {path[:60]!r}; must be the absolute path of a folder, such as /home/me/digits")
    return path


def _mirror(place: str) -> str:
    form = "must be /PATH, file:/PATH, http://HOST or https://HOST"
    if place.startswith("/") and not place.startswith("//"):
        return _folder(place)
    if not place.isprintable() or " " in place:
        raise ValueError(f"is {place[:60]!r}; {form}, without spaces (%20 in an address)")
    if place.partition(":")[0] != place.partition(":")[0].lower():
        raise ValueError(f"is {place[:60]!r}; {form}, in small letters up to the colon")
    try:
        parts = urlsplit(place)
        # An unreadable port is found only where it is asked for.
        local, remote = parts.path.startswith("/") and not parts.netloc, bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        raise ValueError(f"is {place[:60]!r} ({error}); {form}") from None
    if not {"": local, "file": local or parts.hostname == "localhost", "http": remote, "https": remote}.get(parts.scheme):
        raise ValueError(f"is {place[:60]!r}; {form}")
    if parts.username is not None:
        raise ValueError("holds a user's name or password, which the page would show: put them into ~/.netrc")
    if parts.query or parts.fragment:
        raise ValueError(f"is {place[:60]!r}; file names are put behind it, so that ? and # can't stand in it")
    return place


Name = Annotated[str, AfterValidator(_name)]
PairName = Annotated[str, AfterValidator(_pair_name)]
AbsolutePath = Annotated[str, AfterValidator(_folder)]
Mirror = Annotated[str, AfterValidator(_mirror)]
Seeds = Annotated[list[Seed], Field(min_length=1), AfterValidator(different)]


class Group(BaseModel):
    """A group of params: no unknown keys, no coercion between words and numbers."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
