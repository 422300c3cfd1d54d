"""MobileFaceNet: what runs on phones for faces. PReLU with a slope per channel, and a filter as large as its map."""

from torch import Tensor, nn


def _unit(
    inner: int, outer: int, kernel: int, stride: int = 1, groups: int = 1, *, slopes: bool = True
) -> nn.Sequential:
    conv = nn.Conv2d(inner, outer, kernel, stride, kernel // 2, groups=groups, bias=False)
    layers = [conv, nn.BatchNorm2d(outer)]
    return nn.Sequential(*layers, nn.PReLU(outer)) if slopes else nn.Sequential(*layers)


class Bottleneck(nn.Module):
    """Widen, filter each channel, narrow; a shortcut where the shapes allow it."""

    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        wide = 2 * inner
        self.body = nn.Sequential(
            _unit(inner, wide, 1), _unit(wide, wide, 3, stride, wide), _unit(wide, outer, 1, slopes=False)
        )
        self.shortcut = stride == 1 and inner == outer

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.shortcut else self.body(x)


class MobileFaceNet(nn.Module):
    """A few of its blocks, its embedding, and classes of that."""

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(_unit(3, 2 * width, 3, 2), _unit(2 * width, 2 * width, 3, groups=2 * width))
        self.blocks = nn.Sequential(
            Bottleneck(2 * width, 2 * width, 2),
            Bottleneck(2 * width, 2 * width, 1),
            Bottleneck(2 * width, 4 * width, 2),
        )
        self.last = _unit(4 * width, 8 * width, 1)
        self.whole = nn.Sequential(
            nn.Conv2d(8 * width, 8 * width, 4, groups=8 * width, bias=False), nn.BatchNorm2d(8 * width)
        )
        self.embedding = nn.Linear(8 * width, 4 * width)
        self.classes = nn.Sequential(nn.PReLU(4 * width), nn.Linear(4 * width, classes))

    def forward(self, x: Tensor) -> Tensor:
        x = self.whole(self.last(self.blocks(self.stem(x))))
        return self.classes(self.embedding(x.flatten(1)))


def mobilefacenet(classes: int, width: int = 2) -> nn.Module:
    """For 3x32x32 images."""
    return MobileFaceNet(classes, width)
