"""Extractors: the fixed, pretrained networks whose features and class scores compare sets of images.

On the Inception networks the distance and the score are called `fid` and `is`; on any other they are `fd` and `cs`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from stages.runtime import device
from stages.runtime.stage import UserError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# The package's names of convolutions and of the batch normalisations that follow them.
FOLLOWED_BY = (
    ("_conv_stem", "_bn0"),
    ("_expand_conv", "_bn0"),
    ("_depthwise_conv", "_bn1"),
    ("_project_conv", "_bn2"),
    ("_conv_head", "_bn1"),
)


@dataclass(frozen=True)
class Activations:
    """What an extractor says of n images: `features` (n, 1280) after pooling and `logits` (n, 1000), both float32."""

    features: np.ndarray
    logits: np.ndarray

    def __len__(self) -> int:
        return len(self.features)

    def take(self, index: np.ndarray | slice) -> "Activations":
        """The activations of the images `index`."""
        return Activations(self.features[index], self.logits[index])


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0 (Tan and Le 2019, without squeeze-and-excitation, ReLU6) as it was trained on ImageNet."""

    side = 224
    resize = "bilinear 224"
    distance, score = "fd", "cs"

    def __init__(self) -> None:
        super().__init__()
        self.network = EfficientNet.from_name("efficientnet-lite0")
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features (n, 1280) and logits (n, 1000) of images (n, 3, height, width) in [0, 1], of any size, from one pass."""
        resized = F.interpolate(images, size=(self.side, self.side), mode="bilinear", align_corners=False, antialias=True)
        maps = self.network.extract_features((resized - self.mean) / self.std)
        features = maps.mean(dim=(2, 3))
        return features, self.network._fc(features)

    def fold(self) -> None:
        """Put every batch normalisation into the convolution before it: the same function, a third faster. Once, in eval mode."""
        for module in list(self.network.modules()):
            if isinstance(module, nn.ReLU6):
                module.inplace = True
            for convolution, normalisation in FOLLOWED_BY:
                if hasattr(module, convolution):
                    fused = fuse_conv_bn_eval(getattr(module, convolution), getattr(module, normalisation))
                    setattr(module, convolution, fused)
                    setattr(module, normalisation, nn.Identity())


EXTRACTORS: dict[str, type[nn.Module]] = {"efficientnet_lite0": EfficientNetLite0}


def load(name: str, folder: str | Path | None = None) -> nn.Module:
    """The extractor `name` in eval mode on the device, its weights from the one .pth file in `folder` (data/raw/NAME).

    The file is read as tensors only, nothing in it is ever run. UserError where it is missing, damaged or does not fit.
    """
    folder = Path(folder or Path("data/raw") / name)
    files = sorted(folder.glob("*.pth"))
    if len(files) != 1:
        raise UserError(f"{folder} must hold one .pth file but holds {len(files)}: run `dvc repro`, which fetches it")
    try:
        weights = torch.load(files[0], map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises half a dozen kinds for damaged files
        raise UserError(f"{files[0]} is damaged ({type(error).__name__}): delete it and run `dvc repro`") from None
    extractor = EXTRACTORS[name]()
    try:
        extractor.network.load_state_dict(weights)
    except (RuntimeError, TypeError, AttributeError):
        raise UserError(f"{files[0]} does not hold the weights of {name}: delete it and run `dvc repro`") from None
    extractor.eval().requires_grad_(False).fold()
    return device.place(extractor, device.pick())


def batches(extractor: nn.Module, images: np.ndarray, batch_size: int) -> Iterator[Activations]:
    """The activations of uint8 images (n, height, width, 1 or 3), `batch_size` images at a time, in order."""
    where = next(extractor.parameters()).device
    for start in range(0, len(images), batch_size):
        part = torch.from_numpy(images[start : start + batch_size]).to(where)
        pixels = part.permute(0, 3, 1, 2).float().div(255).expand(-1, 3, -1, -1)
        with torch.inference_mode():
            features, logits = extractor(pixels.contiguous(memory_format=torch.channels_last))
        yield Activations(features.float().cpu().numpy(), logits.float().cpu().numpy())


def extract(extractor: nn.Module, images: np.ndarray, batch_size: int) -> Activations:
    """The activations of all images, each image passed through the network once."""
    parts = list(batches(extractor, images, batch_size))
    return Activations(np.concatenate([part.features for part in parts]), np.concatenate([part.logits for part in parts]))
