"""Proof that every artefact computes what the PyTorch networks compute."""

from pamc.verify.compare import errors, within
from pamc.verify.exports import verify_exports
from pamc.verify.inside import verify_operations
from pamc.verify.limits import RTOL
from pamc.verify.lowered import verify_plans
from pamc.verify.reference import neighbours, reference_outputs
from pamc.verify.vectors import Vectors, golden_vectors, select_samples

__all__ = [
    "RTOL",
    "Vectors",
    "errors",
    "golden_vectors",
    "neighbours",
    "reference_outputs",
    "select_samples",
    "verify_exports",
    "verify_operations",
    "verify_plans",
    "within",
]
