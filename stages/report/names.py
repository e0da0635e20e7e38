"""Methods and pairs as people write them."""

METHODS = {
    "source_only": "source only",
    "dann": "DANN",
    "dsn": "DSN",
    "target_only": "target only",
}


def method_name(method: str) -> str:
    """`source_only` as "source only"."""
    return METHODS.get(method, method.replace("_", " "))


def pair_name(pair: str) -> str:
    """`svhn-mnistm` with an arrow."""
    return pair.replace("-", " → ")
