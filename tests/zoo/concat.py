"""Networks that concatenate channels: SqueezeNet and a DenseNet."""

import torch
from torch import Tensor, nn


class Fire(nn.Module):
    """Squeeze by 1x1, expand by 1x1 and 3x3 side by side."""

    def __init__(self, inner: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inner, squeeze, 1)
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.squeeze(x))
        return torch.cat([self.relu(self.expand1x1(x)), self.relu(self.expand3x3(x))], 1)


class SqueezeNet(nn.Module):
    """SqueezeNet 1.1: poolings with ceil_mode, and a convolution as the head."""

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        fires = [(4, 1, 4), (8, 1, 4), "M", (8, 2, 8), (16, 2, 8), "M", (16, 3, 12), (24, 3, 12), (24, 4, 16)]
        layers: list[nn.Module] = [nn.Conv2d(3, 4 * width, 3, 2), nn.ReLU(True), nn.MaxPool2d(3, 2, ceil_mode=True)]
        for fire in fires:
            if isinstance(fire, str):
                layers.append(nn.MaxPool2d(3, 2, ceil_mode=True))
            else:
                layers.append(Fire(*(size * width for size in fire)))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Dropout(), nn.Conv2d(32 * width, classes, 1), nn.ReLU(True), nn.AdaptiveAvgPool2d((1, 1))
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.flatten(self.classifier(self.features(x)), 1)


class DenseLayer(nn.Module):
    """Norm and activation before each convolution; the input is kept beside the new channels."""

    def __init__(self, inner: int, growth: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inner)
        self.conv1 = nn.Conv2d(inner, 2 * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(2 * growth)
        self.conv2 = nn.Conv2d(2 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(torch.relu(self.norm1(x)))
        return torch.cat([x, self.conv2(torch.relu(self.norm2(y)))], 1)


class DenseNet(nn.Module):
    """Two dense blocks with a transition that halves the channels."""

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, 2 * width, 3, 2, 1, bias=False)]
        channels = 2 * width
        for block in range(2):
            for _ in range(3):
                layers.append(DenseLayer(channels, width))
                channels += width
            layers.append(nn.BatchNorm2d(channels))
            layers.append(nn.ReLU(inplace=True))
            if block == 0:
                layers += [nn.Conv2d(channels, channels // 2, 1, bias=False), nn.AvgPool2d(2, 2)]
                channels //= 2
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean([2, 3]))


def squeezenet(classes: int, width: int = 2) -> nn.Module:
    """For 3x33x33 images."""
    return SqueezeNet(classes, width)


def densenet(classes: int, width: int = 3) -> nn.Module:
    """For 3x16x16 images."""
    return DenseNet(classes, width)
