"""A StyleGAN2 of few channels to be trained for a few steps on made-up faces, and how it is sampled."""

import numpy as np
import torch

from stages.generation.train_stylegan2 import Training
from stages.runtime import schema

NETWORK = schema.StyleGAN2Network(
    latent_dim=16, capacity=2, fmap_max=16, attention_layers=[1], attention_heads=1, minibatch_stddev=0
)
SETTINGS = schema.StyleGAN2Train(
    steps=6,
    batch_size=4,
    accumulation=1,
    lr_generator=1e-3,
    lr_discriminator=1e-3,
    lr_decay=0.5,
    beta1=0.5,
    beta2=0.9,
    loss="non_saturating",
    penalty="r1",
    penalty_weight=1.0,
    penalty_interval=2,
    penalty_scaled=False,
    path_length_weight=1.0,
    path_length_interval=2,
    path_length_scaled=False,
    path_length_start=3,
    path_length_decay=0.9,
    style_mixing=0.5,
    ema="constant",
    ema_decay=0.9,
    ema_half_life=100,
    ema_rampup=0.05,
    initial_contrast=1.0,
    augment=["translation", "brightness"],
    ada_target=None,
    ada_images=100,
    precision="fp32",
    snapshots=2,
)
HOW = schema.Training(compile=False, deterministic=False, sync_batch_norm=True)
REPORT, CLEAN = schema.Sampling(count=7, psi=0.7), schema.Sampling(count=60, psi=1.0)
SAMPLE = schema.StyleGAN2Sample(mean_style="sampled", mean_latents=20, report=REPORT, clean=CLEAN)


def faces(n: int = 10, size: int = 16) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, size, size, 3), dtype=np.uint8)


def build(seed: int = 0, group: int = 0, **changes: object) -> Training:
    network = NETWORK.model_copy(update={"minibatch_stddev": group})
    settings = schema.StyleGAN2Train(**SETTINGS.model_dump() | changes)
    return Training(faces(), network, settings, HOW, seed, torch.device("cpu"))
