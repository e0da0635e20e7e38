"""The schema of params.yaml: which keys there are, and which values each may have. `params` reads by it.

It only refuses; a value that passes is the value that stands in the file. So it is no dependency of the stages in dvc.yaml:
what they read of the file is.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from stages.runtime.datasets import FACES, ORL_TEST, Datasets
from stages.runtime.errors import not_among
from stages.runtime.values import (
    AbsolutePath,
    BatchSize,
    Beta,
    Group,
    Images,
    Mirror,
    Name,
    NonNegative,
    NonNegativeInt,
    PairName,
    Positive,
    PositiveInt,
    Precision,
    Seed,
    Seeds,
    Share,
    Side,
    Snapshots,
    Width,
    different,
)

DIGIT_SIDE = 28


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
    compile: bool
    deterministic: bool
    sync_batch_norm: bool


class StyleGAN2Network(Group):
    latent_dim: Width
    capacity: Width
    fmap_max: Width
    attention_layers: Annotated[list[PositiveInt], AfterValidator(different)]
    attention_heads: Annotated[int, Field(gt=0, le=256)]
    minibatch_stddev: Annotated[int, Field(ge=0, le=65_536)]

    @model_validator(mode="after")
    def one_image_is_no_group(self) -> "StyleGAN2Network":
        if self.minibatch_stddev == 1:
            raise ValueError("minibatch_stddev is 1: one image does not differ from itself; 0 is without the layer")
        return self


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
    penalty_scaled: bool
    path_length_weight: NonNegative
    path_length_interval: PositiveInt
    path_length_scaled: bool
    path_length_start: NonNegativeInt
    path_length_decay: Beta
    initial_contrast: Positive
    style_mixing: Share
    ema: Literal["report", "constant", "half_life"]
    ema_decay: Beta
    ema_half_life: PositiveInt
    ema_rampup: Annotated[float, Field(gt=0, le=1)] | None
    augment: list[Literal["flip", "translation", "brightness", "saturation", "contrast", "cutout"]]
    ada_target: Annotated[float, Field(gt=0, lt=1)] | None
    ada_images: PositiveInt
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
    mean_style: Literal["sampled", "tracked"]
    mean_latents: Annotated[int, Field(gt=0, le=10_000_000)]
    report: Sampling
    clean: Sampling


class StyleGAN2(Group):
    dataset: str
    seeds: Seeds
    network: StyleGAN2Network
    train: StyleGAN2Train
    sample: StyleGAN2Sample

    @model_validator(mode="after")
    def groups_divide_the_parts(self) -> "StyleGAN2":
        group, part = self.network.minibatch_stddev, self.train.batch_size // self.train.accumulation
        if group and part % group:
            raise ValueError(
                f"network.minibatch_stddev {group} must divide the {part} images that train.batch_size and "
                "train.accumulation give each part"
            )
        return self


class ACGANTrain(Group):
    steps: PositiveInt
    batch_size: Annotated[int, Field(ge=2, le=65_536)]
    lr_generator: Positive
    lr_discriminator: Positive
    lr_decay: Share
    beta1: Beta
    beta2: Beta
    ema_decay: Beta
    fit: Literal["resize", "pad"]
    objective: Literal["report", "logits"]
    generator_class_weight: NonNegative
    fake_class_weight: NonNegative
    augment: list[Literal["translation", "brightness", "saturation", "contrast", "cutout"]]
    batch_norm_eps: Positive
    precision: Precision
    snapshots: Snapshots


class ACGANSample(Group):
    per_class: Annotated[int, Field(gt=0, le=1_000_000)]
    batch_norm: Literal["eval", "batch"]
    form: Literal["clean", "report", "crop"]


class ACGAN(Group):
    dataset: str
    seeds: Seeds
    train: ACGANTrain
    sample: ACGANSample

    @model_validator(mode="after")
    def samples_are_cut_as_training_images_are_fitted(self) -> "ACGAN":
        if (self.train.fit == "pad") != (self.sample.form == "crop"):
            raise ValueError(
                f"train.fit {self.train.fit} goes with sample.form {'crop' if self.train.fit == 'pad' else 'clean or report'}"
            )
        return self


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
    validation: Annotated[float, Field(gt=0, lt=1)]
    oracle_dev: NonNegativeInt
    seed: Seed


SelectionName = Literal["last", "confident_share", "target_entropy", "soft_neighbourhood_density"]


class Common(Group):
    batch_size: Annotated[int, Field(ge=2, le=65_536)]
    lr: Positive
    beta1: Beta
    beta2: Beta
    precision: Precision
    snapshots: Snapshots
    selection: SelectionName

    @model_validator(mode="after")
    def there_is_a_choice(self) -> "Common":
        if self.selection != "last" and not self.snapshots:
            raise ValueError(f"snapshots 0 leaves {self.selection} nothing to choose from (selection)")
        return self


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
        if self.similarity_weight and self.steps <= self.similarity_start:
            raise ValueError(f"steps {self.steps} must go beyond similarity_start {self.similarity_start}, or nothing adapts")
        return self


class MeanTeacher(Group):
    steps: PositiveInt
    width: Width
    ema_decay: Beta
    confidence: Share
    consistency_weight: NonNegative
    balance_weight: NonNegative
    separate_batch_norm: bool
    standardise: bool
    intensity: bool
    warp: bool
    noise: NonNegative
    lr_decay: Share


MethodName = Literal["source_only", "dann", "dsn", "mean_teacher"]


class Adaptation(Group):
    pairs: Annotated[dict[PairName, Pair], Field(min_length=1)]
    methods: Annotated[list[MethodName], Field(min_length=1), AfterValidator(different)]
    seeds: Seeds
    images: PairImages
    common: Common
    source_only: SourceOnly
    target_only: TargetOnly
    dann: Dann
    dsn: Dsn
    mean_teacher: MeanTeacher


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


ExtractorName = Literal["efficientnet_lite0", "inception", "inception_torchvision"]


class Evaluation(Group):
    extractors: Annotated[list[ExtractorName], Field(min_length=1), AfterValidator(different)]
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
        among = ", ".join(chosen)
        for key, dataset in self._users().items():
            if dataset in Datasets.model_fields and dataset not in chosen:
                raise ValueError(f"{key} is {dataset}, which is neither among data.datasets nor data.folders ({among})")
            if dataset not in chosen:
                raise ValueError(f"{key} is {not_among(dataset, chosen)}")
            if key != "stylegan2.dataset" and dataset in FACES and dataset not in self.data.folders:
                raise ValueError(f"{key} is {dataset}, which holds faces where digits are needed")
        return self

    @model_validator(mode="after")
    def images_fit_the_networks(self) -> "Params":
        faces = self.stylegan2.dataset
        key, side = self._side(faces)
        if side < 8 or side & (side - 1):
            raise ValueError(f"stylegan2.dataset is {faces}, whose side of {side} ({key}) is no power of two from 8 on")
        layers, blocks = self.stylegan2.network.attention_layers, side.bit_length() - 2
        if any(layer > blocks for layer in layers):
            raise ValueError(f"stylegan2.network.attention_layers: {layers} go beyond the {blocks} blocks of {side}x{side}")
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
        counts["acgan.sample.per_class"] = self.acgan.sample.per_class
        for key, count in counts.items():
            if (needed := metrics.neighbours) >= count:
                raise ValueError(f"evaluation.metrics.neighbours is {needed}, too many for the {count} images of {key}")
        return self

    @model_validator(mode="after")
    def the_judge_knows_the_digits(self) -> "Params":
        if self.judge.dataset != self.acgan.dataset:
            raise ValueError(f"judge.dataset is {self.judge.dataset}, but is to score {self.acgan.dataset} (acgan.dataset)")
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
