"""ResNet-18, ResNet-50 and a squeeze-and-excite ResNet."""

import torch
from torch import Tensor, nn


class SqueezeExcite(nn.Module):
    """Channel gates from the global mean: by 1x1 convolutions, or by linear layers and a view."""

    def __init__(self, channels: int, squeeze: int, linear: bool) -> None:
        super().__init__()
        self.linear = linear
        layer = nn.Linear if linear else lambda a, b: nn.Conv2d(a, b, 1)
        self.reduce = layer(channels, squeeze)
        self.expand = layer(squeeze, channels)

    def forward(self, x: Tensor) -> Tensor:
        pooled = x.mean((2, 3)) if self.linear else nn.functional.adaptive_avg_pool2d(x, 1)
        gate = torch.sigmoid(self.expand(torch.relu(self.reduce(pooled))))
        return x * (gate.view(x.size(0), -1, 1, 1) if self.linear else gate)


class Basic(nn.Module):
    """Two 3x3 convolutions around a shortcut."""

    expansion = 1

    def __init__(self, inner: int, planes: int, stride: int, gate: nn.Module | None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inner, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.gate = gate
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or inner != planes:
            self.downsample = nn.Sequential(nn.Conv2d(inner, planes, 1, stride, bias=False), nn.BatchNorm2d(planes))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        if self.gate is not None:
            y = self.gate(y)
        y += x if self.downsample is None else self.downsample(x)
        return self.relu(y)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions around a shortcut."""

    expansion = 4

    def __init__(self, inner: int, planes: int, stride: int, gate: nn.Module | None) -> None:
        super().__init__()
        outer = planes * self.expansion
        self.conv1 = nn.Conv2d(inner, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, outer, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outer)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or inner != outer:
            self.downsample = nn.Sequential(nn.Conv2d(inner, outer, 1, stride, bias=False), nn.BatchNorm2d(outer))

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        return self.relu(self.bn3(self.conv3(y)) + identity)


class ResNet(nn.Module):
    """Stem, stages of blocks, global pooling, head."""

    def __init__(
        self, block: type[Basic] | type[Bottleneck], depths: list[int], classes: int, width: int, gated: bool = False
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        inner, self.depth = width, len(depths)
        for stage, depth in enumerate(depths):
            blocks = []
            for index in range(depth):
                planes = width * 2**stage
                gate = SqueezeExcite(planes, max(2, planes // 2), linear=bool(index % 2)) if gated else None
                blocks.append(block(inner, planes, 2 if stage and not index else 1, gate))
                inner = planes * block.expansion
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(inner, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for stage in range(self.depth):
            x = getattr(self, f"layer{stage + 1}")(x)
        return self.fc(torch.flatten(self.avgpool(x), 1))


def resnet18(classes: int, width: int = 4) -> nn.Module:
    """For 3x32x32 images."""
    return ResNet(Basic, [2, 2, 2, 2], classes, width)


def resnet50(classes: int, width: int = 2) -> nn.Module:
    """Bottleneck blocks at full depth, for 3x32x32 images."""
    return ResNet(Bottleneck, [3, 4, 6, 3], classes, width)


def se_resnet(classes: int, width: int = 4) -> nn.Module:
    """Two stages; gates by convolutions and by linear layers in turn, for 3x32x32 images."""
    return ResNet(Basic, [2, 2], classes, width, gated=True)


def small_resnet(classes: int, width: int = 4) -> nn.Module:
    """One block with and one without a strided shortcut, for 3x32x32 images."""
    return ResNet(Basic, [1, 1], classes, width)
