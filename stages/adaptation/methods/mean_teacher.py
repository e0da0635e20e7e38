"""Self-ensembling (French, Mackiewicz and Fisher 2018): a classifier learns to agree with its own moving average, the teacher,
about target images of whose digit the teacher is sure.

Student and teacher see the same images changed in different ways. Network, augmentation and loss are those of the authors'
published code for house numbers: squared differences of probabilities, a threshold on the teacher's confidence instead of a
ramp, batch norm of each domain by itself. Left out is a margin of zeros that its two last convolutions add, and, where batch
norm takes both domains together, the consistency of source images, which the authors then have. The teacher predicts.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stages.adaptation import method, networks
from stages.adaptation.domainwise import normalised
from stages.runtime import device, parallel
from stages.runtime.schedule import set_lr
from stages.runtime.schema import Common, MeanTeacher

WIDTH = 64
# In the weights, as many filters as the network is wide; and what is there where images are not standardised.
FIRST, AS_THEY_ARE = "student.encoder.0.weight", "as_they_are"
AFFINE, SHIFT = 0.1, 2.0


class Dropout(networks.Dropout):
    """Dropout (Srivastava et al. 2014) of single values of features (n, channels, height, width)."""

    def forward(self, features: Tensor, domains: int = 1) -> Tensor:
        """The features, dropped out one domain after the other where the batch consists of several."""
        if not self.training or self.p == 0:
            return features
        count, channels, height, width = features.shape
        drawn = [self.uniform(count // domains, height, width, channels, device=features.device) for _ in range(domains)]
        return features * ((torch.cat(drawn) >= self.p).to(features.dtype) / (1 - self.p)).permute(0, 3, 1, 2)


class Encoder(nn.Sequential):
    """Images (n, 3, 28, 28) to codes (n, width), not negative: nine convolutions and the mean over what is left of the image."""

    def __init__(self, width: int) -> None:
        super().__init__(
            *_convolved(3, width),
            *_convolved(width, width),
            *_convolved(width, width),
            nn.MaxPool2d(2),
            Dropout(),
            *_convolved(width, 2 * width),
            *_convolved(2 * width, 2 * width),
            *_convolved(2 * width, 2 * width),
            nn.MaxPool2d(2),
            Dropout(),
            *_convolved(2 * width, 4 * width, padding=0),
            *_convolved(4 * width, 2 * width, 1, padding=0),
            *_convolved(2 * width, width, 1, padding=0),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )

    def forward(self, images: Tensor, domains: int = 1, separate: bool = True) -> Tensor:
        """The codes; in training the batch is of `domains` equal parts, which batch norm sees each by itself, if `separate`."""
        features = images.contiguous(memory_format=torch.channels_last)
        for layer in self:
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                features = normalised(layer, features, domains if separate else 1)
            else:
                features = layer(features, domains) if isinstance(layer, Dropout) else layer(features)
        return features


class Classifier(nn.Module):
    """Images (n, 3, 28, 28), mostly standardised, to digit logits (n, 10)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.encoder = Encoder(width)
        self.class_head = nn.Linear(width, 10)

    def forward(self, images: Tensor, domains: int = 1, separate: bool = True) -> Tensor:
        """Logits as float32, for the losses, also under autocast, whose digits they then have. For the rest see Encoder."""
        return self.class_head(self.encoder(images, domains, separate)).float()


class Method(method.Method):
    """Cross-entropy on source; consistency of student and teacher, and balance of the classes, on target."""

    width = 0

    def __init__(self) -> None:
        super().__init__()
        self._build(WIDTH)

    def start(self, batches: method.Batches, common: Common, settings: MeanTeacher, *, compiled: bool = False) -> None:
        self._build(settings.width)
        self._standardise(settings.standardise)
        super().start(batches, common, settings, compiled=compiled)
        if compiled:
            self.student.encoder.compile()
            self.teacher.encoder.compile()

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **options: Any) -> Any:
        """Weights of networks of any width, of images that are standardised or not."""
        if FIRST in state_dict:
            self._build(state_dict[FIRST].shape[0])
            self._standardise(AS_THEY_ARE not in state_dict)
        return super().load_state_dict(state_dict, *args, **options)

    def encode(self, images: Tensor) -> Tensor:
        return self.teacher.encoder(self._entering(images))

    def forward(self, images: Tensor) -> Tensor:
        return self.teacher(self._entering(images))

    def update(self, step: int) -> dict[str, Tensor]:
        settings, separate = self.settings, self.settings.separate_batch_norm
        images, labels = self.batches.labelled(step)
        images, target_images = self._entering(images), self._entering(self.batches.unlabelled(step))
        by_student = [self._changed(images), self._changed(target_images)]
        # Batch norm of both domains together needs both for the teacher, too, or it would see target images unlike the student.
        by_teacher = [self._changed(part) for part in ([target_images] if separate else [images, target_images])]
        with self.autocast():
            source, target = self.student(torch.cat(by_student), 2, separate).chunk(2)
            with torch.no_grad():
                believed = self.teacher(torch.cat(by_teacher), len(by_teacher), separate)[-len(target) :].softmax(dim=1)
        class_loss = F.cross_entropy(source, labels)
        target = target.softmax(dim=1)
        sure = confident(believed, settings.confidence)
        confident_share = parallel.mean(sure.mean())
        consistency = ((target - believed).square().mean(dim=1) * sure).mean()
        balance = class_balance(target) * confident_share
        set_lr(self.optimizers["adam"], self.common.lr, step, settings.steps, settings.lr_decay)
        self.descend(class_loss + settings.consistency_weight * (consistency + settings.balance_weight * balance))
        self._follow()
        return {
            "class_loss": class_loss.detach(),
            "consistency_loss": consistency.detach(),
            "balance_loss": balance.detach(),
            "class_accuracy": (source.argmax(1) == labels).float().mean(),
            "confident_share": confident_share,
        }

    def _build(self, width: int) -> None:
        """New student and teacher, which begin alike, unless those that there are have this width."""
        if width == self.width:
            return
        place = next((weights.device for weights in self.parameters()), torch.device("cpu"))
        self.student, self.teacher = (device.place(Classifier(width), place) for _ in range(2))
        self.width = width
        self.teacher.load_state_dict(self.student.state_dict())
        self.teacher.requires_grad_(False)

    def _standardise(self, wanted: bool) -> None:
        """Have the weights tell whether images are standardised: whoever reads them knows no params."""
        if hasattr(self, AS_THEY_ARE):
            delattr(self, AS_THEY_ARE)
        if not wanted:
            self.register_buffer(AS_THEY_ARE, torch.ones(1, device=next(self.parameters()).device))

    def _entering(self, images: Tensor) -> Tensor:
        return images if hasattr(self, AS_THEY_ARE) else standardised(images)

    def _changed(self, images: Tensor) -> Tensor:
        return changed(images, intensity=self.settings.intensity, warp=self.settings.warp, noise=self.settings.noise)

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the teacher's parameters, not its batch-norm statistics, towards the student's."""
        ours, theirs = list(self.teacher.parameters()), list(self.student.parameters())
        torch._foreach_lerp_(ours, theirs, 1 - self.settings.ema_decay)


def standardised(images: Tensor) -> Tensor:
    """Images (n, 3, height, width), each with mean 0 and standard deviation 1 over all its values; an even one becomes 0."""
    deviation, mean = torch.std_mean(images, (1, 2, 3), correction=0, keepdim=True)
    return (images - mean) / (deviation + 1e-6)


def changed(images: Tensor, *, intensity: bool, warp: bool, noise: float) -> Tensor:
    """Images (n, 3, height, width), mostly standardised, each changed at random (French et al. 2018, section 3.3).

    With `intensity` the values of about every second image change their signs; then all are multiplied by U[0.25, 1.5) and moved
    by U[-0.5, 0.5). With `warp` each pixel is read where the matrix I + N(0, AFFINE^2) and a move of up to SHIFT pixels lead from
    it, zeros outside; in the authors' code these say where a pixel goes. In the end each image gets noise N(0, noise^2).
    """
    n, _, height, width = images.shape
    place = images.device
    if intensity:
        sign, scale, offset = parallel.rand(n, 3, 1, 1, 1, device=place).unbind(dim=1)
        images = images * (torch.where(sign < 0.5, -1.0, 1.0) * (0.25 + 1.25 * scale)) + (offset - 0.5)
    if warp:
        matrix = torch.eye(2, device=place) + AFFINE * parallel.randn(n, 2, 2, device=place)
        # From -1 to 1 it is a whole side.
        right, down = (SHIFT * (2 * parallel.rand(n, 2, 1, device=place) - 1)).unbind(dim=1)
        shift = torch.stack([right * (2 / width), down * (2 / height)], dim=1)
        grid = F.affine_grid(torch.cat([matrix, shift], dim=2), list(images.shape), align_corners=False)
        images = F.grid_sample(images, grid, align_corners=False)
    return images + noise * parallel.randn(*images.shape, device=place) if noise else images


def confident(probabilities: Tensor, threshold: float) -> Tensor:
    """Float (n,): 1 where the largest of the probabilities (n, classes) is above the threshold, else 0."""
    return (probabilities.amax(dim=1) > threshold).float()


def class_balance(probabilities: Tensor) -> Tensor:
    """How far the classes are from being equally frequent, by probabilities (n, classes) of the batch (of all processes).

    The binary cross-entropies of each class's mean probability with an equal share, summed over the classes.
    """
    mean = (parallel.total(probabilities.mean(dim=0)) / parallel.world()).clamp(1e-6, 1 - 1e-6)
    # Not PyTorch's function, which ends a diverging training, whose values are no numbers, by an error of its own.
    equal = 1 / len(mean)
    return -(equal * mean.log() + (1 - equal) * (1 - mean).log()).sum()


def _convolved(channels: int, out: int, kernel: int = 3, padding: int = 1) -> list[nn.Module]:
    """Without a bias, which batch norm would take away again."""
    return [nn.Conv2d(channels, out, kernel, padding=padding, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True)]
