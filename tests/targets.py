"""Targets for tests of plans."""

from dataclasses import replace

from pamc.lower import load_target

__all__ = ["ARM64"]

ARM64 = replace(load_target("arm64"), costs=None)
"""Without prices: every group runs as an operation of its own, however small the network."""
