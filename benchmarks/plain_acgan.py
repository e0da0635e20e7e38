"""ACGAN as PyTorch-GAN's acgan.py prints it, at 32x32 with three channels and a latent of 100: what ours is measured against.

Default settings throughout: NCHW, fp32, default Adam, nearest upsampling and convolution as two layers, heads that end in a
sigmoid and a softmax, gradients for whatever asks for them. It keeps no moving average of the generator, which ours does.
"""

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms


class PlainGenerator(nn.Module):
    """Latents (n, 100) and labels (n,) to images (n, 3, 32, 32) in [-1, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.label_emb = nn.Embedding(10, 100)
        self.l1 = nn.Sequential(nn.Linear(100, 128 * 8**2))
        self.conv_blocks = nn.Sequential(
            nn.BatchNorm2d(128),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(128, 128, 3, stride=1, padding=1),
            nn.BatchNorm2d(128, 0.8),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(128, 64, 3, stride=1, padding=1),
            nn.BatchNorm2d(64, 0.8),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(64, 3, 3, stride=1, padding=1),
            nn.Tanh(),
        )

    def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
        out = self.l1(torch.mul(self.label_emb(labels), noise))
        return self.conv_blocks(out.view(out.shape[0], 128, 8, 8))


class PlainDiscriminator(nn.Module):
    """Images (n, 3, 32, 32) to probabilities of being real (n, 1) and of the classes (n, 10)."""

    def __init__(self) -> None:
        super().__init__()
        layers = []
        for before, after, norm in ((3, 16, False), (16, 32, True), (32, 64, True), (64, 128, True)):
            layers += [nn.Conv2d(before, after, 3, 2, 1), nn.LeakyReLU(0.2, inplace=True), nn.Dropout2d(0.25)]
            layers += [nn.BatchNorm2d(after, 0.8)] if norm else []
        self.conv_blocks = nn.Sequential(*layers)
        self.adv_layer = nn.Sequential(nn.Linear(128 * 2**2, 1), nn.Sigmoid())
        self.aux_layer = nn.Sequential(nn.Linear(128 * 2**2, 10), nn.Softmax(dim=1))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        out = self.conv_blocks(images)
        out = out.view(out.shape[0], -1)
        return self.adv_layer(out), self.aux_layer(out)


def weights_init_normal(module: nn.Module) -> None:
    """Convolutions N(0, 0.02), batch norms N(1, 0.02) and 0, for `Module.apply`."""
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.constant_(module.bias, 0.0)


class PlainACGAN:
    """Both networks, their optimisers and losses."""

    def __init__(self, lr: float = 2e-4) -> None:
        self.generator, self.discriminator = PlainGenerator(), PlainDiscriminator()
        self.generator.apply(weights_init_normal)
        self.discriminator.apply(weights_init_normal)
        self.adversarial_loss, self.auxiliary_loss = nn.BCELoss(), nn.CrossEntropyLoss()
        self.optimizer_g = torch.optim.Adam(self.generator.parameters(), lr=lr, betas=(0.5, 0.999))
        self.optimizer_d = torch.optim.Adam(self.discriminator.parameters(), lr=lr, betas=(0.5, 0.999))

    def step(self, images: Tensor, labels: Tensor, z: Tensor, gen_labels: Tensor) -> tuple[float, float, float]:
        """The generator's step, then the discriminator's; returns both losses and the discriminator's class accuracy."""
        valid, fake = torch.ones(len(images), 1).type_as(images), torch.zeros(len(images), 1).type_as(images)

        self.optimizer_g.zero_grad()
        gen_imgs = self.generator(z, gen_labels)
        validity, pred_label = self.discriminator(gen_imgs)
        g_loss = 0.5 * (self.adversarial_loss(validity, valid) + self.auxiliary_loss(pred_label, gen_labels))
        g_loss.backward()
        self.optimizer_g.step()

        self.optimizer_d.zero_grad()
        real_pred, real_aux = self.discriminator(images)
        d_real_loss = (self.adversarial_loss(real_pred, valid) + self.auxiliary_loss(real_aux, labels)) / 2
        fake_pred, fake_aux = self.discriminator(gen_imgs.detach())
        d_fake_loss = (self.adversarial_loss(fake_pred, fake) + self.auxiliary_loss(fake_aux, gen_labels)) / 2
        d_loss = (d_real_loss + d_fake_loss) / 2
        pred = np.concatenate([real_aux.detach().numpy(), fake_aux.detach().numpy()])
        d_acc = np.mean(np.argmax(pred, axis=1) == np.concatenate([labels.numpy(), gen_labels.numpy()]))
        d_loss.backward()
        self.optimizer_d.step()
        return g_loss.item(), d_loss.item(), float(d_acc)

    def step_on(self, images: Tensor, labels: Tensor) -> tuple[float, float, float]:
        """`step` on images (n, 3, 32, 32) in [-1, 1] and labels (n,), with latents and labels drawn for it."""
        z = torch.from_numpy(np.random.normal(0, 1, (len(images), 100))).float()
        return self.step(images, labels, z, torch.from_numpy(np.random.randint(0, 10, len(images))))


class PlainDigits(Dataset):
    """Uint8 images (n, 28, 28, 3), each resized, made a tensor and normalised by itself when it is asked for."""

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        self.images, self.labels = images, labels
        self.transform = transforms.Compose(
            [transforms.Resize(32), transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.5] * 3)]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), int(self.labels[index])


def plain_loader(images: np.ndarray, labels: np.ndarray, batch_size: int, workers: int = 2) -> DataLoader:
    """Shuffled whole batches of images (n, 3, 32, 32) in [-1, 1] and labels (n,), prepared by `workers` processes."""
    return DataLoader(
        PlainDigits(images, labels),
        batch_size=batch_size,
        shuffle=True,
        num_workers=workers,
        drop_last=True,
        persistent_workers=workers > 0,
    )
