"""DANN, DSN and self-ensembling as they are commonly written: what benchmarks/adaptation.py measures our trainings against.

Images are PNG files that a DataLoader's workers decode with PIL, source and target come from a loader each and pass through the
networks one after the other, in fp32, with torch's default settings. Never edited to be slower or faster: a test holds that its
steps give the same numbers as the pipeline's.
"""

import csv
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn, optim
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms


class Digits(Dataset):
    """A folder of PNG files with `train.csv` (image_name, label) beside them, as the course hands them out."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with (folder / "train.csv").open() as file:
            self.rows = [(row["image_name"], int(row["label"])) for row in csv.DictReader(file)]
        self.transform = transforms.Compose(
            [transforms.ToTensor(), transforms.Normalize(mean=[0.5, 0.5, 0.5], std=[0.5, 0.5, 0.5])]
        )

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        name, label = self.rows[index]
        return self.transform(Image.open(self.folder / "train" / name).convert("RGB")), label


def write_digits(folder: Path, images: np.ndarray, labels: np.ndarray) -> None:
    """Write images (n, height, width, 3) uint8 and their labels where `Digits` finds them."""
    (folder / "train").mkdir(parents=True)
    with (folder / "train.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image_name", "label"])
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            writer.writerow([f"{number:05d}.png", int(label)])
            Image.fromarray(image).save(folder / "train" / f"{number:05d}.png")


def endless(folder: Path, batch_size: int, workers: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Shuffled batches of images (batch_size, 3, height, width) in [-1, 1] and labels, epoch after epoch."""
    loader = DataLoader(Digits(folder), batch_size=batch_size, shuffle=True, num_workers=workers, drop_last=True)
    while True:
        yield from loader


class ReverseLayer(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient.neg() * ctx.strength, None


class FeatureExtractor(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(3, 64, kernel_size=5),
            nn.BatchNorm2d(64),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Conv2d(64, 50, kernel_size=5),
            nn.BatchNorm2d(50),
            nn.Dropout2d(),
            nn.MaxPool2d(2),
            nn.ReLU(),
        )
        self.fc = nn.Sequential(nn.Linear(50 * 4 * 4, 512), nn.BatchNorm1d(512), nn.Dropout(), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.conv(x).view(-1, 50 * 4 * 4))


class Classifier(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.fc = nn.Sequential(nn.Linear(512, 100), nn.BatchNorm1d(100), nn.ReLU(), nn.Linear(100, classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x)


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Sequential(nn.Linear(512, 50 * 4 * 4), nn.ReLU())
        self.deconv = nn.Sequential(
            nn.ConvTranspose2d(50, 64, kernel_size=4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.ConvTranspose2d(64, 64, kernel_size=5, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.ConvTranspose2d(64, 64, kernel_size=4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.ConvTranspose2d(64, 3, kernel_size=5, bias=False),
            nn.Tanh(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.deconv(self.fc(x).view(-1, 50, 4, 4))


class DANN(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = FeatureExtractor()
        self.class_classifier = Classifier(10)
        self.domain_classifier = Classifier(2)

    def forward(self, images: Tensor, domain: str, strength: float) -> tuple[Tensor, Tensor | None]:
        feature = self.encoder(images)
        domain_output = self.domain_classifier(ReverseLayer.apply(feature, strength))
        return domain_output, self.class_classifier(feature) if domain == "source" else None


class DSN(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.shared = FeatureExtractor()
        self.private_source = FeatureExtractor()
        self.private_target = FeatureExtractor()
        self.decoder = Decoder()
        self.class_classifier = Classifier(10)
        self.domain_classifier = Classifier(2)

    def forward(self, images: Tensor, domain: str, strength: float) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]:
        private = self.private_source(images) if domain == "source" else self.private_target(images)
        shared = self.shared(images)
        reconstruction = self.decoder(shared + private)
        domain_output = self.domain_classifier(ReverseLayer.apply(shared, strength))
        class_output = self.class_classifier(shared) if domain == "source" else None
        return private, shared, reconstruction, domain_output, class_output


class SelfEnsemblingNet(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        shapes = [(3, width), (width, width), (width, width), None, (width, 2 * width), (2 * width, 2 * width)]
        shapes += [
            (2 * width, 2 * width),
            None,
            (2 * width, 4 * width, 3, 0),
            (4 * width, 2 * width, 1, 0),
            (2 * width, width, 1, 0),
        ]
        layers = []
        for shape in shapes:
            layers += self.block(*shape) if shape else [nn.MaxPool2d(2), nn.Dropout()]
        self.encoder = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.fc = nn.Linear(width, 10)

    def block(self, channels: int, out: int, kernel: int = 3, padding: int = 1) -> list[nn.Module]:
        return [nn.Conv2d(channels, out, kernel, padding=padding, bias=False), nn.BatchNorm2d(out), nn.ReLU()]

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.encoder(x))


class SelfEnsembling(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.student = SelfEnsemblingNet(width)
        self.teacher = SelfEnsemblingNet(width)
        self.teacher.load_state_dict(self.student.state_dict())
        for parameter in self.teacher.parameters():
            parameter.requires_grad = False


class DiffLoss(nn.Module):
    def forward(self, private: Tensor, shared: Tensor) -> Tensor:
        private = private / (torch.norm(private, p=2, dim=1, keepdim=True).detach() + 1e-6)
        shared = shared / (torch.norm(shared, p=2, dim=1, keepdim=True).detach() + 1e-6)
        return torch.mean(private.t().mm(shared).pow(2))


class SIMSE(nn.Module):
    """Scale-invariant mean squared error, whose second term is subtracted."""

    def forward(self, prediction: Tensor, real: Tensor) -> Tensor:
        difference = real - prediction
        count = difference.numel()
        return torch.sum(difference.pow(2)) / count - torch.sum(difference).pow(2) / count**2


class TrainDANN:
    """One step of DANN after the other on given batches."""

    def __init__(self, model: DANN, total_steps: int) -> None:
        self.model, self.total_steps = model, total_steps
        self.optimizer = optim.Adam(model.parameters(), lr=1e-3)
        self.criterion = nn.CrossEntropyLoss()

    def step(self, step: int, source: Tensor, labels: Tensor, target: Tensor) -> dict[str, Tensor]:
        p = min(step / self.total_steps, 1.0)
        strength = 2.0 / (1.0 + math.exp(-10 * p)) - 1

        self.optimizer.zero_grad()
        domain_output, class_output = self.model(source, "source", strength)
        loss_class = self.criterion(class_output, labels)
        loss_source_domain = self.criterion(domain_output, torch.zeros(len(source), dtype=torch.long))
        domain_output, _ = self.model(target, "target", strength)
        loss_target_domain = self.criterion(domain_output, torch.ones(len(target), dtype=torch.long))
        loss = loss_class + loss_source_domain + loss_target_domain
        loss.backward()
        self.optimizer.step()
        return {"class_loss": loss_class.detach(), "domain_loss": (loss_source_domain + loss_target_domain).detach()}


class TrainDSN:
    """One step of DSN after the other on given batches; domain losses and their reversal begin after `similarity_start`."""

    def __init__(self, model: DSN, total_steps: int, similarity_start: int) -> None:
        self.model, self.total_steps, self.similarity_start = model, total_steps, similarity_start
        self.optimizer = optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-6)
        self.diff_loss, self.simse = DiffLoss(), SIMSE()

    def step(self, step: int, source: Tensor, labels: Tensor, target: Tensor) -> dict[str, Tensor]:
        p = min((step - self.similarity_start) / (self.total_steps - self.similarity_start), 1.0)
        strength = 2.0 / (1.0 + math.exp(-10 * p)) - 1
        for group in self.optimizer.param_groups:
            group["lr"] = 1e-3 * 0.9 ** (step / 20000)

        self.optimizer.zero_grad()
        private, shared, reconstruction, domain_output, class_output = self.model(source, "source", strength)
        class_loss = F.cross_entropy(class_output, labels)
        reconstruction_loss = self.simse(reconstruction, source)
        difference_loss = self.diff_loss(private, shared)
        similarity_loss = F.cross_entropy(domain_output, torch.zeros(len(source), dtype=torch.long))
        private, shared, reconstruction, domain_output, _ = self.model(target, "target", strength)
        reconstruction_loss = reconstruction_loss + self.simse(reconstruction, target)
        difference_loss = difference_loss + self.diff_loss(private, shared)
        similarity_loss = similarity_loss + F.cross_entropy(domain_output, torch.ones(len(target), dtype=torch.long))

        loss = class_loss + 0.015 * reconstruction_loss + 0.075 * difference_loss
        if step > self.similarity_start:
            loss = loss + 0.25 * similarity_loss
        loss.backward()
        self.optimizer.step()
        losses = {"class_loss": class_loss, "reconstruction_loss": reconstruction_loss}
        losses |= {"difference_loss": difference_loss, "similarity_loss": similarity_loss}
        return {name: value.detach() for name, value in losses.items()}


class TrainSelfEnsembling:
    """One step of self-ensembling after the other on given batches; the learning rate falls over the second half."""

    def __init__(self, model: SelfEnsembling, total_steps: int, intensity: bool) -> None:
        self.model, self.total_steps, self.intensity = model, total_steps, intensity
        self.optimizer = optim.Adam(model.student.parameters(), lr=1e-3)
        self.criterion = nn.CrossEntropyLoss()

    def step(self, step: int, source: Tensor, labels: Tensor, target: Tensor) -> dict[str, Tensor]:
        for group in self.optimizer.param_groups:
            group["lr"] = 1e-3 * min(1.0, 2 * (self.total_steps - step + 1) / self.total_steps)
        source, target = self.standardise(source), self.standardise(target)
        source, target, target_again = self.perturb(source), self.perturb(target), self.perturb(target)

        self.optimizer.zero_grad()
        class_output = self.model.student(source)
        student_prob = F.softmax(self.model.student(target), dim=1)
        with torch.no_grad():
            teacher_prob = F.softmax(self.model.teacher(target_again), dim=1)
        class_loss = self.criterion(class_output, labels)
        mask = (teacher_prob.max(dim=1)[0] > 0.968).float()
        consistency_loss = torch.mean(mask * (student_prob - teacher_prob).pow(2).mean(dim=1))
        class_prob = student_prob.mean(dim=0)
        balance_loss = F.binary_cross_entropy(class_prob, torch.full((10,), 0.1), reduction="sum") * mask.mean()
        loss = class_loss + 3.0 * (consistency_loss + 0.005 * balance_loss)
        loss.backward()
        self.optimizer.step()
        with torch.no_grad():
            for average, parameter in zip(self.model.teacher.parameters(), self.model.student.parameters(), strict=True):
                average.mul_(0.99).add_(parameter, alpha=0.01)
        losses = {"class_loss": class_loss, "consistency_loss": consistency_loss, "balance_loss": balance_loss}
        return {name: value.detach() for name, value in losses.items()}

    def standardise(self, x: Tensor) -> Tensor:
        mean, std = x.mean(dim=(1, 2, 3), keepdim=True), x.std(dim=(1, 2, 3), keepdim=True, unbiased=False)
        return (x - mean) / (std + 1e-6)

    def perturb(self, x: Tensor) -> Tensor:
        n = len(x)
        if self.intensity:
            sign, scale, offset = torch.rand(n, 3).view(n, 3, 1, 1, 1).unbind(dim=1)
            x = x * torch.where(sign < 0.5, -1.0, 1.0) * (0.25 + 1.25 * scale) + offset - 0.5
        theta = torch.zeros(n, 2, 3)
        theta[:, :, :2] = torch.eye(2) + 0.1 * torch.randn(n, 2, 2)
        theta[:, :, 2:] = (2 * torch.rand(n, 2, 1) - 1) * 2 * 2.0 / 28
        x = F.grid_sample(x, F.affine_grid(theta, list(x.size()), align_corners=False), align_corners=False)
        return x + 0.1 * torch.randn(x.size())
