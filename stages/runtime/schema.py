"""The schema of params.yaml: which keys there are, and which values each may have. `params` reads by it.

It only refuses; a value that passes is the value that stands in the file. So it is no dependency of the stages in dvc.yaml:
what they read of the file is.
"""

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from stages.runtime.errors import not_among

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
ExtractorName = Literal["efficientnet_lite0", "inception", "inception_torchvision"]
MethodName = Literal["source_only", "dann", "dsn"]
FACES = {"orl", "celeba"}
DIGIT_SIDE = 28
# Pictures 9 and 10 of 40 persons.
ORL_TEST = 80


def _different(values: list) -> list:
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
Seeds = Annotated[list[Seed], Field(min_length=1), AfterValidator(_different)]


class Group(BaseModel):
    """A group of params: no unknown keys, no coercion between words and numbers."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


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


class Data(Group):
    datasets: Datasets
    folders: dict[Name, AbsolutePath]
    folder_face_size: Side
    mirror: Mirror | None

    @model_validator(mode="after")
    def a_name_means_one_thing(self) -> "Data":
        for name in self.folders:
            if name in self.datasets.model_fields_set:
                raise ValueError(f"{name} stands both in datasets and in folders: leave it out of one of them")
        return self


class Training(Group):
    resident_gb: Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)]
    compile: bool
    deterministic: bool
    sync_batch_norm: bool


class StyleGAN2Network(Group):
    latent_dim: Width
    capacity: Width
    fmap_max: Width
    attention_layers: Annotated[list[PositiveInt], AfterValidator(_different)]
    attention_heads: Annotated[int, Field(gt=0, le=256)]


class StyleGAN2Train(Group):
    steps: PositiveInt
    batch_size: BatchSize
    accumulation: BatchSize
    lr_generator: Positive
    lr_discriminator: Positive
    lr_decay: Share
    beta1: Beta
    beta2: Beta
    loss: Literal["hinge_inverted", "non_saturating"]
    penalty: Literal["one_centred", "r1"]
    penalty_weight: NonNegative
    penalty_interval: PositiveInt
    path_length_weight: NonNegative
    path_length_interval: PositiveInt
    path_length_start: NonNegativeInt
    path_length_decay: Beta
    style_mixing: Share
    ema: Literal["report", "constant"]
    ema_decay: Beta
    augment: list[Literal["flip", "translation", "brightness", "saturation", "contrast", "cutout"]]
    precision: Precision
    snapshots: Snapshots

    @model_validator(mode="after")
    def parts_divide_the_batch(self) -> "StyleGAN2Train":
        if self.batch_size % self.accumulation:
            raise ValueError(f"batch_size {self.batch_size} can't be split into {self.accumulation} equal parts (accumulation)")
        return self


class Sampling(Group):
    count: Images
    psi: Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)]


class StyleGAN2Sample(Group):
    mean_latents: Annotated[int, Field(gt=0, le=10_000_000)]
    report: Sampling
    clean: Sampling


class StyleGAN2(Group):
    dataset: str
    seeds: Seeds
    network: StyleGAN2Network
    train: StyleGAN2Train
    sample: StyleGAN2Sample


class ACGANTrain(Group):
    steps: PositiveInt
    batch_size: Annotated[int, Field(ge=2, le=65_536)]
    lr_generator: Positive
    lr_discriminator: Positive
    lr_decay: Share
    beta1: Beta
    beta2: Beta
    ema_decay: Beta
    objective: Literal["report", "logits"]
    fake_class_weight: NonNegative
    batch_norm_eps: Positive
    precision: Precision
    snapshots: Snapshots


class ACGANSample(Group):
    per_class: Annotated[int, Field(gt=0, le=1_000_000)]
    batch_norm: Literal["eval", "batch"]
    form: Literal["clean", "report"]


class ACGAN(Group):
    dataset: str
    seeds: Seeds
    train: ACGANTrain
    sample: ACGANSample


class Judge(Group):
    dataset: str
    seed: Seed
    steps: PositiveInt
    batch_size: BatchSize
    lr: Positive
    lr_decay: Share
    precision: Precision


class Pair(Group):
    source: str
    target: str
    max_source: PositiveInt | None
    max_target: PositiveInt | None
    source_augment: Literal["none", "jitter", "strong"]

    @model_validator(mode="after")
    def two_sides(self) -> "Pair":
        if self.source == self.target:
            raise ValueError(f"source and target are both {self.source[:60]!r}: a pair has two domains")
        return self


class PairImages(Group):
    size: Literal[28]
    validation: Annotated[float, Field(gt=0, lt=1)]
    seed: Seed


class Common(Group):
    batch_size: Annotated[int, Field(ge=2, le=65_536)]
    lr: Positive
    beta1: Beta
    beta2: Beta
    precision: Precision
    snapshots: Snapshots


class SourceOnly(Group):
    steps: PositiveInt
    lambda_steps: PositiveInt | None


class TargetOnly(SourceOnly):
    share: Annotated[float, Field(gt=0, le=1)]


class Dann(Group):
    steps: PositiveInt
    lambda_steps: PositiveInt


class Dsn(Group):
    steps: PositiveInt
    lambda_steps: PositiveInt
    similarity_start: NonNegativeInt
    weight_decay: NonNegative
    lr_decay: Annotated[float, Field(gt=0, le=1)]
    lr_decay_steps: PositiveInt
    reconstruction_weight: NonNegative
    difference_weight: NonNegative
    similarity_weight: NonNegative

    @model_validator(mode="after")
    def lambda_rises(self) -> "Dsn":
        if self.lambda_steps <= self.similarity_start:
            raise ValueError(f"lambda_steps {self.lambda_steps} must come after similarity_start {self.similarity_start}")
        return self


class Adaptation(Group):
    pairs: Annotated[dict[PairName, Pair], Field(min_length=1)]
    methods: Annotated[list[MethodName], Field(min_length=1), AfterValidator(_different)]
    seeds: Seeds
    images: PairImages
    common: Common
    source_only: SourceOnly
    target_only: TargetOnly
    dann: Dann
    dsn: Dsn


class Embedding(Group):
    points: Annotated[int, Field(ge=10, le=1_000_000)]
    perplexity: Annotated[float, Field(ge=1, allow_inf_nan=False)]
    seed: Seed

    @model_validator(mode="after")
    def neighbours_are_there(self) -> "Embedding":
        if self.perplexity >= 2 * self.points:
            raise ValueError(f"perplexity {self.perplexity} must be below the {2 * self.points} points of both domains")
        return self


class Metrics(Group):
    batch_size: BatchSize
    neighbours: PositiveInt
    splits: PositiveInt
    kid_subsets: Annotated[int, Field(gt=0, le=1_000_000)]
    kid_subset_size: Images
    seed: Seed


class Evaluation(Group):
    extractors: Annotated[list[ExtractorName], Field(min_length=1), AfterValidator(_different)]
    metrics: Metrics


class Params(Group):
    """The whole of params.yaml."""

    data: Data
    training: Training
    stylegan2: StyleGAN2
    acgan: ACGAN
    judge: Judge
    adaptation: Adaptation
    embedding: Embedding
    evaluation: Evaluation

    @model_validator(mode="after")
    def datasets_are_chosen(self) -> "Params":
        chosen = sorted({*self.data.datasets.model_fields_set, *self.data.folders})
        for key, dataset in self._users().items():
            if dataset in Datasets.model_fields and dataset not in chosen:
                raise ValueError(
                    f"{key} is {dataset}, which is neither among data.datasets nor data.folders ({', '.join(chosen)})"
                )
            if dataset not in chosen:
                raise ValueError(f"{key} is {not_among(dataset, chosen)}")
            if key != "stylegan2.dataset" and dataset in FACES and dataset not in self.data.folders:
                raise ValueError(f"{key} is {dataset}, which holds faces where digits are needed")
        return self

    @model_validator(mode="after")
    def images_fit_the_networks(self) -> "Params":
        key, side = self._side(self.stylegan2.dataset)
        if side < 8 or side & (side - 1):
            raise ValueError(
                f"stylegan2.dataset is {self.stylegan2.dataset}, whose side of {side} ({key}) is no power of two from 8 on"
            )
        layers, blocks = self.stylegan2.network.attention_layers, side.bit_length() - 2
        if any(layer > blocks for layer in layers):
            raise ValueError(
                f"stylegan2.network.attention_layers: {layers} go beyond the {blocks} blocks of {side}x{side} images"
            )
        for user, dataset in (("acgan", self.acgan.dataset), ("judge", self.judge.dataset)):
            key, side = self._side(dataset)
            if side != DIGIT_SIDE and dataset not in self.data.folders:
                raise ValueError(f"{user}.dataset is {dataset}, whose side of {side} ({key}) must be {DIGIT_SIDE} for this")
        return self

    @model_validator(mode="after")
    def images_suffice_for_the_figures(self) -> "Params":
        metrics, sample, celeba = self.evaluation.metrics, self.stylegan2.sample, self.data.datasets.celeba
        counts = {"stylegan2.sample.report.count": sample.report.count, "stylegan2.sample.clean.count": sample.clean.count}
        for key, count in counts.items():
            if metrics.splits > count:
                raise ValueError(f"evaluation.metrics.splits is {metrics.splits}, more than the {count} samples of {key}")
        if self.stylegan2.dataset == "celeba" and celeba:
            counts["data.datasets.celeba.test"] = celeba.test
        if self.stylegan2.dataset == "orl" and self.data.datasets.orl:
            counts["orl's test split"] = ORL_TEST
        for key, count in counts.items():
            if metrics.neighbours >= count:
                raise ValueError(
                    f"evaluation.metrics.neighbours is {metrics.neighbours}, too many for the {count} images of {key}"
                )
        return self

    def _users(self) -> dict[str, str]:
        """Every key that names a data set, and the data set that it names."""
        users = {f"{group}.dataset": getattr(self, group).dataset for group in ("stylegan2", "acgan", "judge")}
        for name, pair in self.adaptation.pairs.items():
            users |= {f"adaptation.pairs.{name}.source": pair.source, f"adaptation.pairs.{name}.target": pair.target}
        return users

    def _side(self, dataset: str) -> tuple[str, int]:
        """The key that sets the side of a data set's images (`fixed`: none does) and the side; a folder is taken for faces."""
        if dataset in self.data.folders:
            return "data.folder_face_size", self.data.folder_face_size
        settings = getattr(self.data.datasets, dataset)
        return (f"data.datasets.{dataset}.size", settings.size) if hasattr(settings, "size") else ("fixed", DIGIT_SIDE)
