"""Networks in words, for people who read about them."""

from torch import nn


def described(networks: dict[str, nn.Module]) -> list[dict[str, str | int]]:
    """Name, number of parameters (each counted once) and printed form of every network."""
    return [
        {"name": name, "parameters": sum(weights.numel() for weights in network.parameters()), "printed": str(network)}
        for name, network in networks.items()
    ]
