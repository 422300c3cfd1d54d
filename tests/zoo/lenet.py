"""LeNet-5 with ReLU and max-pooling."""

from torch import Tensor, nn
from torch.nn import functional as F


class LeNet(nn.Module):
    """Two convolutions of 5x5, two hidden linear layers, a head; functional activations and poolings."""

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, width, 5, padding=2)
        self.conv2 = nn.Conv2d(width, 2 * width, 5)
        self.fc1 = nn.Linear(2 * width * 25, 8 * width)
        self.fc2 = nn.Linear(8 * width, 5 * width)
        self.head = nn.Linear(5 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.relu(self.fc1(x.flatten(1)))
        return self.head(F.relu(self.fc2(x)))


def lenet(classes: int, width: int = 6) -> nn.Module:
    """For 1x28x28 images."""
    return LeNet(classes, width)
