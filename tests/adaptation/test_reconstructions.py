"""DSN's decoder is shown both codes, and each alone, of the image's own domain."""

import numpy as np
import torch

from stages.adaptation.networks import DSN
from stages.adaptation.reconstructions import reconstructions

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 28, 28, 3), dtype=np.uint8)


def network(**silent: float) -> DSN:
    """A DSN whose encoders named in `silent` give the same code everywhere."""
    torch.manual_seed(0)
    made = DSN()
    for name, code in silent.items():
        getattr(made, name).register_forward_hook(lambda module, inputs, output, code=code: torch.full_like(output, code))
    return made


def test_the_first_row_is_the_images_themselves():
    rows = reconstructions(network(), IMAGES, "source")
    assert rows.shape == (4, 3, 28, 28, 3) and rows.dtype == np.uint8
    assert np.array_equal(rows[0], IMAGES)


def test_without_a_private_code_both_codes_are_the_shared_one_alone():
    _, both, shared, private = reconstructions(network(private_source=0.0), IMAGES, "source")
    assert np.array_equal(both, shared) and not np.array_equal(both, private)


def test_without_a_shared_code_both_codes_are_the_private_one_alone():
    _, both, shared, private = reconstructions(network(shared=0.0), IMAGES, "target")
    assert np.array_equal(both, private) and not np.array_equal(both, shared)


def test_each_domain_has_its_own_private_encoder():
    made = network(private_target=1.0)
    assert np.array_equal(reconstructions(made, IMAGES, "source")[2], reconstructions(made, IMAGES, "target")[2])
    assert not np.array_equal(reconstructions(made, IMAGES, "source")[3], reconstructions(made, IMAGES, "target")[3])
