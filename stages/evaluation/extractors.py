"""Extractors: the fixed, pretrained networks whose features and class scores compare sets of images.

Each class says how it resizes (`resize`) and what its distance and score are called: `fid` and `is` on FID's own Inception,
`is_torchvision` on torchvision's, `fd` and `cs` for all else.
"""

import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from tqdm import tqdm

from stages.runtime import device
from stages.runtime.errors import UserError, not_among
from stages.runtime.files import refused
from stages.runtime.images import scratch

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# The packages' names of convolutions and of the batch normalisations that follow them.
FOLLOWED_BY = (
    ("_conv_stem", "_bn0"),
    ("_expand_conv", "_bn0"),
    ("_depthwise_conv", "_bn1"),
    ("_project_conv", "_bn2"),
    ("_conv_head", "_bn1"),
)


@dataclass(frozen=True)
class Activations:
    """What an extractor says of n images: `features` (n, d) after pooling and `logits` (n, classes), both float32."""

    features: np.ndarray
    logits: np.ndarray

    def __len__(self) -> int:
        return len(self.features)


class Extractor(nn.Module):
    """A pretrained `network`, and around it how images enter and what is taken out."""

    network: nn.Module
    resize: str
    distance: str
    score: str

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features (n, d) and logits (n, classes) of images (n, 3, height, width) in [0, 1], of any size, from one pass."""
        raise NotImplementedError

    def prepare(self) -> None:
        """Make the loaded network ready, and faster where that changes nothing. Once, in eval mode."""


class EfficientNetLite0(Extractor):
    """EfficientNet-Lite0 (Tan and Le 2019, without squeeze-and-excitation, ReLU6) as it was trained on ImageNet.

    1,280 features, 1,000 classes.
    """

    kind = "efficientnet-lite0"
    side = 224
    resize = "bilinear 224"
    distance, score = "fd", "cs"

    def __init__(self) -> None:
        from efficientnet_lite_pytorch import EfficientNet

        super().__init__()
        self.network = EfficientNet.from_name(self.kind)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        resized = F.interpolate(images, size=(self.side, self.side), mode="bilinear", align_corners=False, antialias=True)
        maps = self.network.extract_features((resized - self.mean) / self.std)
        features = maps.mean(dim=(2, 3))
        return features, self.network._fc(features)

    def prepare(self) -> None:
        """The same function in less time: batch norms and borders of one width become part of their convolutions."""
        for module in list(self.network.modules()):
            if isinstance(module, nn.ReLU6):
                module.inplace = True
            for convolution, normalisation in FOLLOWED_BY:
                if hasattr(module, convolution):
                    fused = fuse_conv_bn_eval(getattr(module, convolution), getattr(module, normalisation))
                    setattr(module, convolution, fused)
                    setattr(module, normalisation, nn.Identity())
        # Anew, for the convolutions are others now.
        for module in list(self.network.modules()):
            border = getattr(module, "static_padding", None)
            if isinstance(border, nn.ZeroPad2d) and len(set(border.padding)) == 1:
                module.padding, module.static_padding = border.padding[:2], nn.Identity()


class Inception(Extractor):
    """FID's own network (Heusel et al. 2017): the Inception of 2015 with TensorFlow's pooling, 2,048 features, 1,008 classes.

    Built of pytorch-fid's blocks, without the weights that its own builder downloads. Features are those that pytorch-fid
    takes. Logits are without the last layer's bias: so the Inception Score is computed by its authors (Salimans et al. 2016,
    openai/improved-gan: pool3 times the weights of softmax/logits/MatMul) and, as `logits_unbiased`, by torch-fidelity.
    """

    side = 299
    resize = "bilinear 299 without antialias"
    distance, score = "fid", "is"

    def __init__(self) -> None:
        super().__init__()
        self.network = self.build()

    @staticmethod
    def build() -> nn.Module:
        """torchvision's Inception with the blocks that differ in TensorFlow's, as pytorch-fid's `fid_inception_v3` has them."""
        # Here, because torchvision takes seconds to import, which only the Inception extractors need.
        from pytorch_fid import inception as patched
        from torchvision.models import inception_v3

        network = inception_v3(num_classes=1008, aux_logits=False, weights=None, init_weights=False)
        network.Mixed_5b = patched.FIDInceptionA(192, pool_features=32)
        network.Mixed_5c = patched.FIDInceptionA(256, pool_features=64)
        network.Mixed_5d = patched.FIDInceptionA(288, pool_features=64)
        network.Mixed_6b = patched.FIDInceptionC(768, channels_7x7=128)
        network.Mixed_6c = patched.FIDInceptionC(768, channels_7x7=160)
        network.Mixed_6d = patched.FIDInceptionC(768, channels_7x7=160)
        network.Mixed_6e = patched.FIDInceptionC(768, channels_7x7=192)
        network.Mixed_7b = patched.FIDInceptionE_1(1280)
        network.Mixed_7c = patched.FIDInceptionE_2(2048)
        return network

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        resized = F.interpolate(images, size=(self.side, self.side), mode="bilinear", align_corners=False)
        features = self.network(2 * resized - 1)
        return features, self.classify(features)

    def classify(self, features: Tensor) -> Tensor:
        """Logits (n, classes) of pooled features."""
        return F.linear(features, self.last.weight)

    def prepare(self) -> None:
        """Part the network before its last layer, so that one pass gives features and logits."""
        self.last, self.network.fc = self.network.fc, nn.Identity()


class InceptionTorchvision(Inception):
    """torchvision's ImageNet Inception, whose score the study reports: 2,048 features, 1,000 classes, no patched blocks.

    Images enter as the study's script (sbarratt/inception-score-pytorch) has them: in [-1, 1], with `transform_input` off.
    Logits have their bias.
    """

    distance, score = "fd", "is_torchvision"

    @staticmethod
    def build() -> nn.Module:
        """With the auxiliary head, since the published file has its weights; it is not run in eval mode."""
        from torchvision.models import inception_v3

        return inception_v3(weights=None, aux_logits=True, transform_input=False, init_weights=False)

    def classify(self, features: Tensor) -> Tensor:
        return self.last(features)


EXTRACTORS: dict[str, type[Extractor]] = {
    "efficientnet_lite0": EfficientNetLite0,
    "inception": Inception,
    "inception_torchvision": InceptionTorchvision,
}


def load(name: str, folder: str | Path | None = None) -> Extractor:
    """The extractor `name` in eval mode on the device, its weights from the one .pth file in `folder` (data/raw/NAME).

    The file is read as tensors only, nothing in it is ever run. UserError where it is missing, damaged or does not fit.
    """
    if name not in EXTRACTORS:
        raise UserError(f"there is no extractor {not_among(name, EXTRACTORS)}")
    folder = Path(folder or Path("data/raw") / name)
    files = sorted(folder.glob("*.pth"))
    if len(files) != 1:
        raise UserError(f"{folder} must hold one .pth file but holds {len(files)}: run `dvc repro`, which fetches it")
    try:
        weights = torch.load(files[0], map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises half a dozen kinds for damaged files
        damaged = UserError(f"{files[0]} is damaged ({type(error).__name__}): delete it and run `dvc repro`")
        raise refused(files[0], error) or damaged from None
    extractor = EXTRACTORS[name]()
    try:
        extractor.network.load_state_dict(weights)
    except (RuntimeError, TypeError, AttributeError):
        raise UserError(f"{files[0]} does not hold the weights of {name}: delete it and run `dvc repro`") from None
    extractor.eval().requires_grad_(False).prepare()
    return device.place(extractor, device.pick())


def batches(extractor: Extractor, images: np.ndarray, batch_size: int) -> Iterator[Activations]:
    """The activations of uint8 images (n, height, width, 1 or 3), `batch_size` images at a time, in order."""
    where = next(extractor.parameters()).device
    for start in range(0, len(images), batch_size):
        part = device.resident(images[start : start + batch_size], where)
        pixels = part.permute(0, 3, 1, 2).float().div(255).expand(-1, 3, -1, -1)
        with torch.inference_mode():
            features, logits = extractor(pixels.contiguous(memory_format=torch.channels_last))
        yield Activations(features.float().cpu().numpy(), logits.float().cpu().numpy())


def chunks(
    extractor: Extractor, images: np.ndarray, batch_size: int, what: str = "images", size: int = 1024
) -> Iterator[Activations]:
    """The activations of all images in order, about `size` at a time; stderr tells how many of `what` are done."""
    progress, held = Progress(what, len(images)), []
    for batch in batches(extractor, images, batch_size):
        held.append(batch)
        progress.advance(len(batch))
        if sum(map(len, held)) >= size:
            yield _joined(held)
            held = []
    if held:
        yield _joined(held)


def extract(
    extractor: Extractor, images: np.ndarray, batch_size: int, what: str = "images", folder: Path | None = None
) -> Activations:
    """The activations of all images, each image passed through the network once; they lie in `folder` on disk."""
    return on_disk(chunks(extractor, images, batch_size, what), len(images), folder)


def on_disk(parts: Iterable[Activations], count: int, folder: Path | None = None) -> Activations:
    """What comes in parts of altogether `count` images as one, in temporary files in `folder` instead of in memory."""
    whole, done = None, 0
    for part in parts:
        if whole is None:
            arrays = (scratch(folder, (count, array.shape[1]), array.dtype) for array in (part.features, part.logits))
            whole = Activations(*arrays)
        whole.features[done : done + len(part)] = part.features
        whole.logits[done : done + len(part)] = part.logits
        done += len(part)
    return whole


def _joined(parts: list[Activations]) -> Activations:
    return Activations(np.concatenate([part.features for part in parts]), np.concatenate([part.logits for part in parts]))


class Progress:
    """Lines on stderr: how many images are done, how many a second, and the time left."""

    def __init__(self, what: str, count: int, seconds_between_lines: float = 10.0) -> None:
        self.what, self.count, self.done = what, count, 0
        self.seconds_between_lines = seconds_between_lines
        self.started = self.said = time.monotonic()

    def advance(self, images: int) -> None:
        """Count images; at most every few seconds, and at the end, a line says how far things are."""
        self.done += images
        now = time.monotonic()
        if now - self.said < self.seconds_between_lines and self.done < self.count:
            return
        self.said = now
        rate = self.done / max(now - self.started, 1e-9)
        left = tqdm.format_interval((self.count - self.done) / rate)
        print(f"{self.what}: {self.done}/{self.count} {rate:.1f} images/s, {left} left", file=sys.stderr, flush=True)
