"""MobileNetV2."""

from torch import Tensor, nn


def _unit(inner: int, outer: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inner, outer, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outer), nn.ReLU6(inplace=True))


class InvertedResidual(nn.Module):
    """Widen, filter each channel, narrow; a shortcut where the shapes allow it."""

    def __init__(self, inner: int, outer: int, stride: int, expand: int) -> None:
        super().__init__()
        hidden = inner * expand
        layers: list[nn.Module] = [] if expand == 1 else [_unit(inner, hidden, 1)]
        layers += [_unit(hidden, hidden, 3, stride, groups=hidden)]
        layers += [nn.Conv2d(hidden, outer, 1, bias=False), nn.BatchNorm2d(outer)]
        self.conv = nn.Sequential(*layers)
        self.shortcut = stride == 1 and inner == outer

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.shortcut else self.conv(x)


class MobileNetV2(nn.Module):
    """The full plan of blocks; widths are multiples of `width`."""

    def __init__(self, classes: int, width: int, plan: list[tuple[int, int, int, int]]) -> None:
        super().__init__()
        inner = 2 * width
        blocks: list[nn.Module] = [_unit(3, inner, 3, 2)]
        for expand, channels, count, stride in plan:
            for index in range(count):
                blocks.append(InvertedResidual(inner, channels * width, 1 if index else stride, expand))
                inner = channels * width
        blocks.append(_unit(inner, 4 * inner, 1))
        self.features = nn.Sequential(*blocks)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(4 * inner, classes))

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.adaptive_avg_pool2d(self.features(x), (1, 1))
        return self.classifier(x.flatten(1))


def mobilenet_v2(classes: int, width: int = 1) -> nn.Module:
    """Seventeen blocks, for 3x32x32 images."""
    plan = [(1, 1, 1, 1), (6, 2, 2, 1), (6, 3, 3, 2), (6, 4, 4, 2), (6, 6, 3, 1), (6, 8, 3, 2), (6, 10, 1, 1)]
    return MobileNetV2(classes, width, plan)


def small_mobilenet(classes: int, width: int = 2) -> nn.Module:
    """Three blocks, for 3x32x32 images."""
    return MobileNetV2(classes, width, [(1, 1, 1, 1), (3, 2, 2, 2)])
