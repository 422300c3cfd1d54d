"""VGG-11 and VGG-16-BN at full depth, narrow."""

from torch import nn

VGG11 = (1, "M", 2, "M", 4, 4, "M", 8, 8, "M", 8, 8, "M")
VGG16 = (1, 1, "M", 2, 2, "M", 4, 4, 4, "M", 8, 8, 8, "M", 8, 8, 8, "M")


def _vgg(plan: tuple[int | str, ...], classes: int, width: int, norm: bool) -> nn.Module:
    layers: list[nn.Module] = []
    channels = 3
    for item in plan:
        if isinstance(item, str):
            layers.append(nn.MaxPool2d(2))
            continue
        layers.append(nn.Conv2d(channels, item * width, 3, padding=1))
        layers += [nn.BatchNorm2d(item * width)] if norm else []
        layers.append(nn.ReLU(inplace=True))
        channels = item * width
    network = nn.Sequential()
    network.add_module("features", nn.Sequential(*layers))
    network.add_module("avgpool", nn.AdaptiveAvgPool2d(1))
    network.add_module("flatten", nn.Flatten())
    head = [nn.Linear(channels, 2 * channels), nn.ReLU(True), nn.Dropout(), nn.Linear(2 * channels, classes)]
    network.add_module("classifier", nn.Sequential(*head))
    return network


def vgg11(classes: int, width: int = 3) -> nn.Module:
    """Without batch norm, for 3x32x32 images."""
    return _vgg(VGG11, classes, width, norm=False)


def vgg16_bn(classes: int, width: int = 2) -> nn.Module:
    """With batch norm, for 3x32x32 images."""
    return _vgg(VGG16, classes, width, norm=True)
