"""Small SVG drawings as escaped text; colours come from the classes of the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Iterable

from markupsafe import Markup

__all__ = ["circle", "drawing", "group", "label", "line", "marker", "path", "rect", "shorten", "ticks"]

CHARACTER = 6.8  # width of an average character at the 12 px of the style sheet


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def rect(x: float, y: float, width: float, height: float, css: str) -> Markup:
    """A filled rectangle."""
    box = (_number(x), _number(y), _number(max(width, 0.0)), _number(height), css)
    return Markup('<rect x="{}" y="{}" width="{}" height="{}" class="{}"/>').format(*box)


def line(x1: float, y1: float, x2: float, y2: float, css: str) -> Markup:
    """A straight line."""
    ends = map(_number, (x1, y1, x2, y2))
    return Markup('<line x1="{}" y1="{}" x2="{}" y2="{}" class="{}"/>').format(*ends, css)


def circle(x: float, y: float, radius: float, css: str) -> Markup:
    """A filled circle."""
    return Markup('<circle cx="{}" cy="{}" r="{}" class="{}"/>').format(_number(x), _number(y), _number(radius), css)


def path(points: Iterable[tuple[float, float]], css: str) -> Markup:
    """A closed polygon."""
    corners = " ".join(f"{_number(x)},{_number(y)}" for x, y in points)
    return Markup('<polygon points="{}" class="{}"/>').format(corners, css)


def marker(shape: str, x: float, y: float, css: str, size: float = 4.5) -> Markup:
    """A ``circle``, ``square``, ``diamond`` or ``triangle`` around the point, all of about the same weight."""
    if shape == "circle":
        return circle(x, y, 1.15 * size, css)
    if shape == "square":
        return rect(x - size, y - size, 2 * size, 2 * size, f"mark {css}")
    reach = 1.35 * size
    if shape == "diamond":
        return path([(x, y - reach), (x + reach, y), (x, y + reach), (x - reach, y)], css)
    return path([(x, y - reach), (x + reach, y + size), (x - reach, y + size)], css)


def label(x: float, y: float, text: str, css: str = "", anchor: str = "start") -> Markup:
    """Text whose baseline begins, or by ``anchor`` has its middle or end, at the point."""
    place = (_number(x), _number(y), anchor, css, text)
    return Markup('<text x="{}" y="{}" text-anchor="{}" class="{}">{}</text>').format(*place)


def group(parts: Iterable[Markup], tip: str) -> Markup:
    """Parts that show ``tip`` when pointed at."""
    return Markup("<g><title>{}</title>{}</g>").format(tip, Markup("").join(parts))


def drawing(width: float, height: float, parts: Iterable[Markup], title: str) -> Markup:
    """A whole drawing; ``title`` is what a screen reader says."""
    head = Markup('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {} {}" role="img" aria-label="{}">')
    return head.format(_number(width), _number(height), title) + Markup("").join(parts) + Markup("</svg>")


def shorten(text: str, width: float) -> str:
    """``text`` that fits into ``width`` at the size of a label, with an ellipsis in the middle where it is cut."""
    room = int(width / CHARACTER)
    if len(text) <= room:
        return text
    head = max(1, (room - 1) // 2)
    return f"{text[:head]}…{text[len(text) - max(0, room - 1 - head) :]}"


def ticks(highest: float, count: int = 4) -> tuple[float, ...]:
    """About ``count`` round numbers from 0 up to at most ``highest``."""
    if highest <= 0:
        return (0.0,)
    power = 10.0 ** math.floor(math.log10(highest / count))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= highest / count * 0.999)
    return tuple(step * i for i in range(int(highest / step * 1.0001) + 1))
