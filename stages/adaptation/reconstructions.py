"""What DSN's decoder makes of an image's codes, together and each alone (figure 2 of Bousmalis et al. 2016)."""

import numpy as np
import torch

from stages.adaptation.networks import DSN
from stages.runtime import device


@torch.no_grad()
def reconstructions(network: DSN, images: np.ndarray, domain: str) -> np.ndarray:
    """Images (4, n, 28, 28, 3) uint8: `images` of a domain, then decoded from both codes, the shared one, the private one."""
    network.eval()
    place = next(network.parameters()).device
    batch = device.to_float(device.resident(np.array(images), place))
    shared = network.shared(batch)
    private = (network.private_source if domain == "source" else network.private_target)(batch)
    decoded = [device.to_uint8(network.decoder(codes)).cpu().numpy() for codes in (shared + private, shared, private)]
    return np.stack([images, *decoded])
