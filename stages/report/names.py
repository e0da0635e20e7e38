"""Methods, pairs and measures as people write them."""

METHODS = {
    "source_only": "source only",
    "dann": "DANN",
    "dsn": "DSN",
    "mean_teacher": "self-ensembling",
    "target_only": "target only",
}
MEASURES = {"fid": "FID", "is": "Inception Score on FID's network", "is_torchvision": "Inception Score (torchvision's network)"}
MEASURES |= {"thumbnail_novelty": "novelty of thumbnails", "thumbnail_near_share": "near share of thumbnails"}
OURS = {"near_share": "near share"}
# How new generated faces are, and how many are near copies: in a network's features, and as thumbnails.
NOVELTY, NEAR_SHARE = ("novelty", "thumbnail_novelty"), ("near_share", "thumbnail_near_share")
# How the names of figures end that are shares of 1, which people read in percent.
SHARES = ("accuracy", "recall", "recall_train", "precision", *NEAR_SHARE)
REGULARISERS = {"penalty": "gradient penalty", "path_length": "path length"}
# Columns of a history that are shares of 1 beside larger values, and get an axis of their own.
LAMBDA, AUGMENTED = ("lambda", "lambda"), ("ada_p", "chance of augmentation")


def method_name(method: str) -> str:
    """`source_only` as "source only"."""
    return METHODS.get(method, method.replace("_", " "))


def pair_name(pair: str) -> str:
    """`svhn-mnistm` with an arrow."""
    return pair.replace("-", " → ")


def measure_name(measure: str, extractor: str) -> str:
    """A Fréchet distance or classifier score; only on Inception's own networks they have names of their own."""
    return MEASURES.get(measure, f"{OURS.get(measure, measure)} on {extractor}")
