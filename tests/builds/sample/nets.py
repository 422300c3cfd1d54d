"""Networks for 8x8 images."""

from torch import Tensor, nn
from torch.nn import functional as F


class ConvNet(nn.Module):
    """Two convolutions and a hidden layer."""

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, 2 * width, 3, padding=1)
        self.hidden = nn.Linear(2 * width * 4, 3 * width)
        self.head: nn.Module = nn.Linear(3 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        answers: Tensor = self.head(F.relu(self.hidden(x.flatten(1))))
        return answers


class Deep(ConvNet):
    """The same trunk under a head of two layers."""

    def __init__(self, classes: int, width: int) -> None:
        super().__init__(classes, width)
        self.head = nn.Sequential(nn.Linear(3 * width, 10), nn.ReLU(), nn.Linear(10, classes))


def conv_net(classes: int, width: int = 8) -> nn.Module:
    return ConvNet(classes, width)


def deep(classes: int, width: int = 8) -> nn.Module:
    return Deep(classes, width)
