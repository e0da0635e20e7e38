"""Reading params.yaml: a strict schema, and one clear line for whatever does not fit it.

`python -m stages.runtime.params` checks the whole file.
"""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from stages.runtime.stage import UserError, run

PositiveInt = Annotated[int, Field(gt=0)]
NonNegativeInt = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Beta = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
PairName = Annotated[str, Field(pattern=r"^[a-z0-9_]+-[a-z0-9_]+$")]
Precision = Literal["fp32", "bf16"]
MethodName = Literal["source_only", "dann", "dsn"]
FACES = {"orl"}


def _different(values: list) -> list:
    if len(set(values)) < len(values):
        raise ValueError(f"names something twice: {values}")
    return values


Seeds = Annotated[list[NonNegativeInt], Field(min_length=1), AfterValidator(_different)]


class Group(BaseModel):
    """A group of params: no unknown keys, no coercion between words and numbers."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Orl(Group):
    size: Annotated[int, Field(ge=8, le=92)]


class Mnistm(Group):
    seed: NonNegativeInt


class Syn(Group):
    train: Annotated[int, Field(ge=10)]
    test: Annotated[int, Field(ge=10)]
    size: Annotated[int, Field(ge=16, le=128)]
    seed: NonNegativeInt


class Mfeat(Group):
    test_per_class: Annotated[int, Field(gt=0, lt=200)]
    seed: NonNegativeInt


class Datasets(Group):
    """The data sets that are chosen; one that is not listed is None."""

    orl: Orl | None = None
    mnistm: Mnistm | None = None
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


class StyleGAN2Network(Group):
    latent_dim: PositiveInt
    capacity: PositiveInt
    fmap_max: PositiveInt
    attention_layers: list[PositiveInt]
    attention_heads: PositiveInt


class StyleGAN2Train(Group):
    steps: PositiveInt
    batch_size: PositiveInt
    accumulation: PositiveInt
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
    snapshots: NonNegativeInt

    @model_validator(mode="after")
    def parts_divide_the_batch(self) -> "StyleGAN2Train":
        if self.batch_size % self.accumulation:
            raise ValueError(f"batch_size {self.batch_size} can't be split into {self.accumulation} equal parts (accumulation)")
        return self


class StyleGAN2Sample(Group):
    count: PositiveInt
    psi: NonNegative
    mean_latents: PositiveInt


class StyleGAN2(Group):
    dataset: Name
    seeds: Seeds
    network: StyleGAN2Network
    train: StyleGAN2Train
    sample: StyleGAN2Sample


class ACGANTrain(Group):
    steps: PositiveInt
    batch_size: Annotated[int, Field(ge=2)]
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
    snapshots: NonNegativeInt


class ACGANSample(Group):
    per_class: PositiveInt
    batch_norm: Literal["eval", "batch"]


class ACGAN(Group):
    dataset: Name
    seeds: Seeds
    train: ACGANTrain
    sample: ACGANSample


class Judge(Group):
    dataset: Name
    seed: NonNegativeInt
    steps: PositiveInt
    batch_size: PositiveInt
    lr: Positive
    lr_decay: Share
    precision: Precision


class Pair(Group):
    source: Name
    target: Name
    max_source: PositiveInt | None
    max_target: PositiveInt | None
    source_augment: Literal["none", "jitter", "strong"]

    @model_validator(mode="after")
    def two_sides(self) -> "Pair":
        if self.source == self.target:
            raise ValueError(f"source and target are both {self.source}")
        return self


class PairImages(Group):
    size: Literal[28]
    validation: Annotated[float, Field(gt=0, lt=1)]
    seed: NonNegativeInt


class Common(Group):
    batch_size: Annotated[int, Field(ge=2)]
    lr: Positive
    beta1: Beta
    beta2: Beta
    precision: Precision
    snapshots: NonNegativeInt


class Plain(Group):
    steps: PositiveInt


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
    source_only: Plain
    target_only: Plain
    dann: Dann
    dsn: Dsn


class Embedding(Group):
    points: Annotated[int, Field(ge=10)]
    perplexity: Positive
    seed: NonNegativeInt

    @model_validator(mode="after")
    def neighbours_are_there(self) -> "Embedding":
        if self.perplexity >= 2 * self.points:
            raise ValueError(f"perplexity {self.perplexity} must be below the {2 * self.points} points of both domains")
        return self


class Evaluation(Group):
    extractors: Annotated[list[Literal["efficientnet_lite0"]], Field(min_length=1)]
    batch_size: PositiveInt
    neighbours: PositiveInt
    splits: PositiveInt
    kid_subsets: PositiveInt
    kid_subset_size: Annotated[int, Field(ge=2)]
    seed: NonNegativeInt


class Params(Group):
    """The whole of params.yaml."""

    data: Data
    stylegan2: StyleGAN2
    acgan: ACGAN
    judge: Judge
    adaptation: Adaptation
    embedding: Embedding
    evaluation: Evaluation

    @model_validator(mode="after")
    def datasets_are_chosen(self) -> "Params":
        chosen = self.data.datasets.model_fields_set
        users = {
            "stylegan2.dataset": self.stylegan2.dataset,
            "acgan.dataset": self.acgan.dataset,
            "judge.dataset": self.judge.dataset,
        }
        for name, pair in self.adaptation.pairs.items():
            users |= {f"adaptation.pairs.{name}.source": pair.source, f"adaptation.pairs.{name}.target": pair.target}
        for key, dataset in users.items():
            if dataset not in chosen:
                raise ValueError(f"{key} is {dataset}, which is not among data.datasets ({', '.join(sorted(chosen))})")
            if dataset in FACES and key != "stylegan2.dataset":
                raise ValueError(f"{key} is {dataset}, which holds faces where digits are needed")
        return self


def load(path: str | Path = "params.yaml") -> Params:
    """The validated params; UserError names the first key that is wrong."""
    try:
        content = yaml.load(Path(path).read_text(), Loader=_Loader)
    except FileNotFoundError:
        raise UserError(f"{path} is missing: `cp presets/laptop.yaml params.yaml` restores the default") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no valid YAML: {error}") from None
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{path}: {_first(error)}") from None


def read(*keys: str, path: str | Path = "params.yaml") -> list[Any]:
    """The values of dotted keys, such as `stylegan2.train`; the one way in which a stage gets at its params.

    Each stage calls it once, so that what it reads can be compared with what dvc.yaml declares.
    """
    params = load(path)
    return [_select(params, key) for key in keys]


def main() -> None:
    load()
    print("params.yaml is valid")


class _Loader(yaml.SafeLoader):
    """PyYAML with YAML 1.2's floats (`1e-05` is a number), and no key given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key.value, str):
                raise yaml.YAMLError(f"the key in line {key.start_mark.line + 1} is no word")
            if key.value in seen:
                raise yaml.YAMLError(f"key {key.value!r} is given twice, again in line {key.start_mark.line + 1}")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$"), list("-+.0123456789")
)


def _select(params: Params, key: str) -> Any:
    value: Any = params
    for part in key.split("."):
        found = value.get(part) if isinstance(value, dict) else getattr(value, part, None)
        if found is None and not (part in getattr(type(value), "model_fields", {}) and part in value.model_fields_set):
            known = value if isinstance(value, dict) else value.model_fields_set
            raise UserError(f"params.yaml has no {key} (known: {', '.join(sorted(known))})")
        value = found
    return value


def _first(error: ValidationError) -> str:
    problem = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in problem["loc"])
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "missing":
        message = "is missing"
    elif problem["type"] == "extra_forbidden":
        message = "is not a known key"
    elif problem["type"] != "value_error":
        message = f"{message}, not {problem['input']!r}"
    return f"{key}: {message}" if key else message


if __name__ == "__main__":
    run(main)
