"""Proof that every artefact computes what the PyTorch networks compute."""

from pamc.verify.compare import errors, within
from pamc.verify.exports import RTOL, verify_exports
from pamc.verify.vectors import Vectors, golden_vectors, select_samples

__all__ = ["RTOL", "Vectors", "errors", "golden_vectors", "select_samples", "verify_exports", "within"]
