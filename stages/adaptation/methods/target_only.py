"""Trained on labelled target images: the bound that adaptation works towards, and no method of adaptation itself.

Its `Batches` hold the target's labelled training images, all of them (the study's reference used three quarters), without
augmentation.
"""

from stages.adaptation.methods import source_only


class Method(source_only.Method):
    """Learns as source_only does; only what it is given to learn from differs."""
