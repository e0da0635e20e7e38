"""What the study printed, for comparison. Its data sets, extractors and training times differ from the packaged ones."""

FID, INCEPTION_SCORE = 28.16, 2.00
ACGAN_ACCURACY = 0.825
METHODS = ("source_only", "dann", "dsn", "target_only")
ADAPTATION = {
    "svhn-mnistm": (0.4891, 0.5799, 0.6228, 0.9758),
    "mnistm-usps": (0.7549, 0.8819, 0.8834, 0.9671),
    "usps-svhn": (0.2564, 0.3163, 0.4282, 0.8964),
}


def adaptation(pair: str, method: str) -> float | None:
    """The study's accuracy for a pair and method, None where it has none."""
    return dict(zip(METHODS, ADAPTATION.get(pair, ()), strict=False)).get(method)
