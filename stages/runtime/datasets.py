"""The settings of each data set of the catalogue in params.yaml, a part of `schema`."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from stages.runtime.values import Group, Images, NonNegativeInt, Seed, Side

FACES = {"orl", "celeba"}
# Pictures 9 and 10 of 40 persons.
ORL_TEST = 80


class Orl(Group):
    source: Literal["packaged"]
    size: Annotated[int, Field(ge=8, le=92)]


class Celeba(Group):
    source: Literal["official"]
    crop_side: Annotated[int, Field(ge=8, le=178)]
    crop_x: NonNegativeInt
    crop_y: NonNegativeInt
    size: Side
    train: Images
    test: Images

    @model_validator(mode="after")
    def crop_and_splits_fit(self) -> "Celeba":
        half = self.crop_side / 2
        if not (half <= self.crop_x <= 178 - half and half <= self.crop_y <= 218 - half):
            raise ValueError(
                f"a square of {self.crop_side} pixels centred at x={self.crop_x}, y={self.crop_y} leaves the 178x218 pictures"
            )
        if self.size > self.crop_side:
            raise ValueError(f"size {self.size} is larger than the crop of {self.crop_side} pixels (crop_side)")
        if self.train + self.test > 202_599:
            raise ValueError(f"train {self.train} and test {self.test} are more than the 202599 pictures there are")
        return self


class Mnistm(Group):
    source: Literal["packaged", "official", "official_over_photographs"]
    seed: Seed


class Svhn(Group):
    source: Literal["official"]


class Usps(Group):
    source: Literal["official"]


class Syn(Group):
    source: Literal["packaged"]
    train: Annotated[int, Field(ge=10, le=10_000_000)]
    test: Annotated[int, Field(ge=10, le=10_000_000)]
    size: Annotated[int, Field(ge=16, le=128)]
    seed: Seed


class Mfeat(Group):
    source: Literal["packaged"]
    test_per_class: Annotated[int, Field(gt=0, lt=200)]
    seed: Seed


class Datasets(Group):
    """The data sets of the catalogue that are chosen; one that is not listed is None."""

    orl: Orl | None = None
    celeba: Celeba | None = None
    mnistm: Mnistm | None = None
    svhn: Svhn | None = None
    usps: Usps | None = None
    syn: Syn | None = None
    mfeat: Mfeat | None = None

    @model_validator(mode="after")
    def listed_means_set(self) -> "Datasets":
        for name in self.model_fields_set:
            if getattr(self, name) is None:
                raise ValueError(f"{name} is empty: give its settings, or leave the data set out")
        return self
