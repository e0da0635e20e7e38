"""What the study printed, for comparison. Its figures stand beside ours where data, network and protocol are the same."""

# The data sets behind its figures of generated images, how it cut its faces, and how it sampled.
FACES, DIGITS = "celeba", "mnistm"
CUT = {"crop_side": 128, "crop_x": 89, "crop_y": 121, "size": 64, "train": 40_000, "test": 2_621}
SAMPLES, PSI = 1_000, 0.75
# Of 1,000 samples against 2,621 test faces; the score's network is torchvision's Inception.
FID, INCEPTION_SCORE = 28.158576252243705, 2.001824013042993
ACGAN_ACCURACY = 0.825
METHODS = ("source_only", "dann", "dsn", "target_only")
# By source and target.
ADAPTATION = {
    ("svhn", "mnistm"): (0.4891, 0.5799, 0.6228, 0.9758),
    ("mnistm", "usps"): (0.7549, 0.8819, 0.8834, 0.9671),
    ("usps", "svhn"): (0.2564, 0.3163, 0.4282, 0.8964),
}


def adaptation(source: str, target: str, method: str) -> float | None:
    """The study's accuracy for a pair and method, None where it has none."""
    return dict(zip(METHODS, ADAPTATION.get((source, target), ()), strict=False)).get(method)
