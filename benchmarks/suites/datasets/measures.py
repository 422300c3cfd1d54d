"""Real-valued properties of images that labels are cut from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["border", "slant", "stroke", "texture", "tone"]

Images = NDArray[np.uint8]
Values = NDArray[np.floating]

INK = 127
BORDER = 4


def stroke(x: Images) -> Values:
    """Thickness of a digit's stroke: ink pixels over those at its edge. ``x`` is ``(n, 1, height, width)``."""
    ink = x[:, 0] > INK
    around = np.pad(ink, ((0, 0), (1, 1), (1, 1)))
    inside = around[:, :-2, 1:-1] & around[:, 2:, 1:-1] & around[:, 1:-1, :-2] & around[:, 1:-1, 2:]
    edge = (ink & ~inside).sum(axis=(1, 2))
    return np.asarray(ink.sum(axis=(1, 2)) / np.maximum(edge, 1))


def slant(x: Images) -> Values:
    """Shear of a digit: the slope of columns over rows, by second moments of the grey values."""
    grey = x[:, 0].astype(np.float64)
    total = np.maximum(grey.sum(axis=(1, 2)), 1)
    rows, columns = np.indices(grey.shape[1:])
    down = rows - ((grey * rows).sum(axis=(1, 2)) / total)[:, None, None]
    across = columns - ((grey * columns).sum(axis=(1, 2)) / total)[:, None, None]
    along = np.maximum((grey * down * down).sum(axis=(1, 2)), 1)
    return np.asarray((grey * across * down).sum(axis=(1, 2)) / along)


def tone(x: Images) -> Values:
    """Mean grey value of the pixels that are not background (0)."""
    flat = x.reshape(len(x), -1)
    return np.asarray(flat.sum(axis=1, dtype=np.float64) / np.maximum((flat > 0).sum(axis=1), 1))


def texture(x: Images) -> Values:
    """Mean absolute difference of neighbouring pixels inside the garment, per pixel of it."""
    grey = x[:, 0].astype(np.int16)
    garment = grey > 0
    total = np.zeros(len(x))
    for axis in (1, 2):
        first, second = [slice(None)] * 3, [slice(None)] * 3
        first[axis], second[axis] = slice(None, -1), slice(1, None)
        both = garment[tuple(first)] & garment[tuple(second)]
        total += (np.abs(np.diff(grey, axis=axis)) * both).sum(axis=(1, 2))
    return np.asarray(total / np.maximum(garment.sum(axis=(1, 2)), 1))


def border(x: Images) -> Values:
    """Mean brightness of the outer four pixels of a photo ``(n, channels, height, width)``."""
    ring = np.ones(x.shape[2:], bool)
    ring[BORDER:-BORDER, BORDER:-BORDER] = False
    return np.asarray(x[:, :, ring].mean(axis=(1, 2), dtype=np.float64))
