"""Spellings that capture understands, and what it says about the rest."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pamc.capture import capture
from pamc.errors import UnsupportedModelError, UserCodeError, WeightsError
from pamc.graph import Graph, render
from pamc.graph.interpret import evaluate
from pamc.graph.ops import Activation, AvgPool, ChannelAffine, Conv, DepthwiseConv, GlobalAvgPool, MaxPool
from tests.zoo.captured import captured, relative_error

HERE = Path(__file__).parent
SHAPE = (4, 8, 8)


class Small(nn.Module):
    """Layers for the spellings below; `body` is the forward function."""

    def __init__(self, body: Callable[["Small", Tensor], object]) -> None:
        super().__init__()
        self.body = body
        self.conv = nn.Conv2d(4, 6, 3, padding=1)
        self.twin = nn.Conv2d(6, 6, 3, padding=1)
        self.fc = nn.Linear(6, 3)
        self.norm = nn.BatchNorm2d(6)
        self.gain = nn.Parameter(torch.linspace(0.5, 1.5, 6))
        self.register_buffer("mean", torch.linspace(-1, 1, 4).view(1, 4, 1, 1))
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x: Tensor) -> object:
        return self.body(self, x)


def small(body: Callable[[Small, Tensor], object]) -> nn.Module:
    torch.manual_seed(3)
    return Small(body)


def kinds(graph: Graph) -> list[str]:
    return [getattr(node.op, "function", node.op.kind) for node in graph.nodes[1:]]


def head(m: Small, x: Tensor) -> Tensor:
    return m.fc(x.mean((2, 3)))


def excite(m: Small, y: Tensor, gate: Tensor) -> Tensor:
    return head(m, y * gate)


SPELLINGS: dict[str, tuple[Callable[[Small, Tensor], object], list[str]]] = {
    "mean": (lambda m, x: head(m, m.conv(x)), ["conv", "global_avg_pool", "flatten", "linear"]),
    "mean keepdim": (
        lambda m, x: m.fc(m.conv(x).mean([-1, -2], keepdim=True).squeeze(-1).squeeze(-1)),
        ["conv", "global_avg_pool", "flatten", "linear"],
    ),
    "mean of a view": (
        lambda m, x: m.fc(m.conv(x).view(x.size(0), 6, -1).mean(-1)),
        ["conv", "global_avg_pool", "flatten", "linear"],
    ),
    "adaptive and reshape": (
        lambda m, x: m.fc(F.adaptive_avg_pool2d(m.conv(x), 1).reshape(-1, 6)),
        ["conv", "global_avg_pool", "flatten", "linear"],
    ),
    "two views of one value": (
        lambda m, x: (lambda y: m.fc(y.flatten(1)) + m.fc(y.view(-1, 6)))(F.adaptive_avg_pool2d(m.conv(x), 1)),
        ["conv", "global_avg_pool", "flatten", "linear", "linear", "add"],
    ),
    "gate by expand": (
        lambda m, x: (lambda y: excite(m, y, torch.sigmoid(y.mean((2, 3), keepdim=True)).expand_as(y)))(m.conv(x)),
        ["conv", "global_avg_pool", "sigmoid", "mul", "global_avg_pool", "flatten", "linear"],
    ),
    "gate by a view": (
        lambda m, x: (lambda y: excite(m, y, torch.sigmoid(y.mean((2, 3)))[:, :, None, None]))(m.conv(x)),
        ["conv", "global_avg_pool", "flatten", "sigmoid", "unflatten", "mul", "global_avg_pool", "flatten", "linear"],
    ),
    "constants": (
        lambda m, x: head(m, m.conv((x - m.mean) / 0.3) * 2 + 1),
        [*["channel_affine"] * 2, "conv", *["channel_affine"] * 2, "global_avg_pool", "flatten", "linear"],
    ),
    "difference": (
        lambda m, x: (lambda y: head(m, 1 - (y - m.twin(y))))(m.conv(x)),
        ["conv", "conv", "channel_affine", "add", "channel_affine", "global_avg_pool", "flatten", "linear"],
    ),
    "clamps": (
        lambda m, x: head(m, F.hardtanh(m.conv(x).clamp(min=0), 0.0, 6.0).clamp(0, 6)),
        ["conv", "relu", "relu6", "relu6", "global_avg_pool", "flatten", "linear"],
    ),
    "in place": (
        lambda m, x: (lambda y: head(m, y.relu_() + y))(m.conv(x)),
        ["conv", "relu", "add", "global_avg_pool", "flatten", "linear"],
    ),
    "activations": (
        lambda m, x: F.silu(F.hardswish(F.hardsigmoid(F.leaky_relu(F.elu(F.gelu(m.conv(x)), 0.7), 0.2)))),
        ["conv", "gelu", "elu", "leaky_relu", "hardsigmoid", "hardswish", "silu"],
    ),
    "pad": (
        lambda m, x: head(m, F.conv2d(F.pad(x, (2, 2, 1, 1)), m.conv.weight, padding=1)),
        ["conv", "global_avg_pool", "flatten", "linear"],
    ),
    "same": (
        lambda m, x: head(m, F.conv2d(x, m.conv.weight, padding="same", dilation=2)),
        ["conv", "global_avg_pool", "flatten", "linear"],
    ),
    "softmax": (
        lambda m, x: head(m, m.conv(x)).softmax(-1),
        ["conv", "global_avg_pool", "flatten", "linear", "softmax"],
    ),
    "prelu": (
        lambda m, x: head(m, F.prelu(m.conv(x), m.gain)),
        ["conv", "prelu", "global_avg_pool", "flatten", "linear"],
    ),
    "log softmax": (
        lambda m, x: F.log_softmax(head(m, m.conv(x)), dim=1),
        ["conv", "global_avg_pool", "flatten", "linear", "softmax"],
    ),
    "no-ops": (
        lambda m, x: head(m, F.dropout(m.conv(x.contiguous().clone()), training=m.training).to(x.dtype).detach()),
        ["conv", "global_avg_pool", "flatten", "linear"],
    ),
    "tuple of one": (lambda m, x: (head(m, m.conv(x)),), ["conv", "global_avg_pool", "flatten", "linear"]),
    "adaptive pools": (
        lambda m, x: head(m, F.adaptive_max_pool2d(F.adaptive_avg_pool2d(m.conv(x), (4, 8)), (2, 2))),
        ["conv", "avg_pool", "max_pool", "global_avg_pool", "flatten", "linear"],
    ),
    "adaptive identity": (
        lambda m, x: head(m, F.adaptive_avg_pool2d(m.conv(x), (8, 8))),
        ["conv", "global_avg_pool", "flatten", "linear"],
    ),
    "batch norm": (lambda m, x: m.norm(m.conv(x)), ["conv", "batch_norm"]),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_spelling(spelling: str) -> None:
    body, wanted = SPELLINGS[spelling]
    module = small(body).eval()
    graph = capture("t", module, SHAPE)
    assert kinds(graph) == wanted
    x = torch.randn(5, *SHAPE, generator=torch.Generator().manual_seed(0))
    result = module(x)
    assert relative_error(evaluate(graph, x)["t"], result[0] if isinstance(result, tuple) else result) < 1e-4


def test_padding_of_a_pad_is_added_to_the_convolution() -> None:
    graph = capture("t", small(SPELLINGS["pad"][0]), SHAPE)
    assert [node.op for node in graph.nodes if isinstance(node.op, Conv)] == [Conv((3, 3), (1, 1), (2, 3))]


def test_learned_scale_is_trainable_and_a_buffer_is_not() -> None:
    graph = capture("t", small(lambda m, x: m.conv(x - m.mean) * m.gain[:, None, None]), SHAPE)
    frozen = [node.op.frozen for node in graph.nodes if isinstance(node.op, ChannelAffine)]
    assert frozen == [True, False]


def test_layer_used_twice_is_copied() -> None:
    graph = capture("t", small(lambda m, x: m.twin(m.twin(m.conv(x)))), SHAPE)
    assert [node.name for node in graph.nodes] == ["input", "conv", "twin", "twin_2"]
    assert np.array_equal(graph.params["twin.weight"], graph.params["twin_2.weight"])


def test_names_are_module_paths() -> None:
    inner = nn.Sequential(nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6), nn.ReLU(inplace=True))
    network = nn.Sequential()
    network.add_module("stage/1:a@b", inner)
    network.add_module("pool", nn.AdaptiveAvgPool2d(1))
    network.add_module("end", nn.Sequential(nn.Flatten()))
    graph = capture("t", network, SHAPE)
    names = [node.name for node in graph.nodes]
    assert names == ["input", "stage_1_a_b.0", "stage_1_a_b.1", "stage_1_a_b.2.relu", "pool", "end.0.flatten"]
    assert set(graph.params) >= {"stage_1_a_b.0.weight", "stage_1_a_b.0.bias", "stage_1_a_b.1.gamma"}


@pytest.mark.parametrize("name", ["lenet", "small_resnet"])
def test_text(name: str, golden: Callable[[str, str], None]) -> None:
    golden(f"{name}.txt", render(captured(name, 0)[1]))


def test_origins_are_relative_to_the_root() -> None:
    graph = capture("t", small(lambda m, x: head(m, m.conv(x))), SHAPE, root=HERE)
    source = Path(__file__).read_text().splitlines()
    place, line = graph.by_name["fc"].origin.location.split(":")
    assert place == "test_capture.py"
    assert "return self.body(self, x)" in source[int(line) - 1]


@dataclass(frozen=True)
class Norm:
    mean: tuple[float, ...]
    std: tuple[float, ...]


def test_raw_pixels_and_normalisation_are_part_of_the_graph() -> None:
    module = small(lambda m, x: head(m, m.conv(x))).eval()
    mean, std = (0.1, 0.2, 0.3, 0.4), (0.5, 0.25, 2.0, 1.0)
    graph = capture("t", module, SHAPE, dtype="uint8", normalize=Norm(mean, std))
    x = torch.randint(0, 256, (3, *SHAPE), dtype=torch.uint8)
    fed = (x / 255 - torch.tensor(mean).view(1, 4, 1, 1)) / torch.tensor(std).view(1, 4, 1, 1)
    assert graph.nodes[1].name == "normalize" and graph.nodes[1].op == ChannelAffine(frozen=True)
    assert relative_error(evaluate(graph, x)["t"], module(fed)) < 1e-5


def test_module_is_left_as_it_was() -> None:
    module = small(lambda m, x: head(m, m.conv(x))).train()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    capture("t", module, SHAPE)
    assert module.training
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())


def test_double_and_half_precision_modules_become_float32() -> None:
    for module in (small(lambda m, x: head(m, m.conv(x))).double(), small(lambda m, x: head(m, m.conv(x))).half()):
        assert {array.dtype for array in capture("t", module, SHAPE).params.values()} == {np.dtype(np.float32)}


def test_ops_keep_their_attributes() -> None:
    network = nn.Sequential(
        nn.Conv2d(4, 4, 1),
        nn.Conv2d(4, 4, (3, 5), (2, 1), (1, 2), groups=4),
        nn.MaxPool2d(3, 2, 1, ceil_mode=True),
        nn.AvgPool2d(2, 1, 1, count_include_pad=False),
        nn.LeakyReLU(0.3),
        nn.AdaptiveAvgPool2d(1),
    )
    ops = [node.op for node in capture("t", network, SHAPE).nodes[2:]]
    assert ops == [
        DepthwiseConv((3, 5), (2, 1), (1, 2)),
        MaxPool((3, 3), (2, 2), (1, 1), True),
        AvgPool((2, 2), (1, 1), (1, 1), False),
        Activation("leaky_relu", 0.3),
        GlobalAvgPool(),
    ]


# ---------------------------------------------------------------- what is refused


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(8, 4, batch_first=True)
        self.attend = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.rnn(x[:, 0])
        return self.attend(y, y, y)[0].flatten(1)


def branch(m: Small, x: Tensor) -> Tensor:
    return head(m, m.conv(x)) if x.sum() > 0 else head(m, m.conv(-x))


def counting(m: Small, x: Tensor) -> Tensor:
    m.count += 1
    return head(m, m.conv(x))


REFUSED: dict[str, tuple[Callable[[], nn.Module], str, str]] = {
    "groups": (lambda: nn.Conv2d(4, 4, 3, groups=2), "conv2d", "2 groups"),
    "multiplier": (lambda: nn.Conv2d(4, 8, 3, groups=4), "conv2d", "2 filters per channel"),
    "even same": (lambda: nn.Conv2d(4, 4, 2, padding="same"), "conv2d", "even kernel"),
    "transposed": (lambda: nn.ConvTranspose2d(4, 4, 2), "conv_transpose2d", "resizing"),
    "lstm": (Recurrent, "lstm", "recurrent"),
    "attention": (Recurrent, "bmm", "attention"),
    "layer norm": (lambda: nn.LayerNorm([4, 8, 8]), "layer_norm", "statistics of the sample"),
    "no statistics": (
        lambda: nn.BatchNorm2d(4, track_running_stats=False),
        "_native_batch_norm_legit",
        "statistics of the sample",
    ),
    "mish": (lambda: nn.Sequential(nn.Conv2d(4, 4, 1), nn.Mish()), "mish", "activation"),
    "upsample": (lambda: nn.Upsample(scale_factor=2), "upsample_nearest2d", "resizing"),
    "control flow": (lambda: small(branch), "forward", "control flow"),
    "buffer": (lambda: small(counting), "assignment", "the buffer 'count'"),
    "always dropout": (lambda: small(lambda m, x: head(m, F.dropout(m.conv(x)))), "native_dropout", "inference too"),
    "noise": (lambda: small(lambda m, x: head(m, m.conv(x) + torch.rand(6, 1, 1))), "rand", "random"),
    "fixed batch": (lambda: small(lambda m, x: x.view(2, -1)), "batch size", "one batch size"),
    "two outputs": (lambda: small(lambda m, x: (m.conv(x), m.twin(m.conv(x)))), "output", "2 tensors"),
    "scalar output": (lambda: small(lambda m, x: head(m, m.conv(x))[:, 0]), "output", "a tensor of shape (2,)"),
    "slice": (lambda: small(lambda m, x: m.conv(x)[:, :3]), "slice", "part of a value"),
    "permute": (lambda: small(lambda m, x: m.conv(x).permute(0, 2, 3, 1)), "permute", "reordering"),
    "channel shuffle": (
        lambda: small(lambda m, x: m.conv(x).view(-1, 2, 3, 8, 8).transpose(1, 2).reshape(-1, 6, 8, 8)),
        "transpose",
        "reordering",
    ),
    "uneven pool": (lambda: nn.AdaptiveAvgPool2d(3), "adaptive_avg_pool2d", "equal windows"),
    "ceil average": (lambda: nn.AvgPool2d(3, 2, ceil_mode=True), "avg_pool2d", "partial windows"),
    "dilated pool": (lambda: nn.MaxPool2d(3, dilation=2), "max_pool2d", "dilation"),
    "lopsided pad": (lambda: small(lambda m, x: m.conv(F.pad(x, (0, 1, 0, 1)))), "pad", "not symmetric"),
    "reflect": (lambda: nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), "pad", "zeros"),
    "pad before a pool": (
        lambda: small(lambda m, x: F.max_pool2d(F.pad(x, (1, 1, 1, 1)), 2)),
        "max_pool2d",
        "zero padding",
    ),
    "one map for all": (lambda: small(lambda m, x: m.conv(x) * x.mean(1, keepdim=True)), "mean", "all positions"),
    "positions": (lambda: small(lambda m, x: m.conv(x) + torch.ones(8)), "add", "a constant of shape (8,)"),
    "quotient": (lambda: small(lambda m, x: m.conv(x) / m.conv(x).exp()), "div", "division by a constant"),
    "concat of rows": (lambda: small(lambda m, x: torch.cat([x, x], 2)), "cat", "concatenation of channels"),
    "tied to the image": (lambda: nn.Sequential(Residual()), "conv", "tied to the input's"),
    "image as output": (lambda: nn.MaxPool2d(2), "output", "channels are the input's"),
    "softmax over rows": (lambda: small(lambda m, x: m.conv(x).softmax(2)), "softmax", "axis 2"),
    "log softmax over rows": (lambda: small(lambda m, x: m.conv(x).log_softmax(2)), "log_softmax", "axis 2"),
    "split differently": (
        lambda: small(lambda m, x: torch.cat([m.conv(x), m.conv(x)], 1) + m.twin(m.conv(x)).repeat(1, 2, 1, 1)),
        "repeat",
        "not supported",
    ),
}


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.conv(x))


@pytest.mark.filterwarnings("ignore:Using padding")
@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str, capfd: pytest.CaptureFixture[str]) -> None:
    make, op, words = REFUSED[case]
    with pytest.raises(UnsupportedModelError) as caught:
        capture("t", make(), SHAPE)
    found = [finding for finding in caught.value.findings if finding.op == op]
    assert found, caught.value
    assert words in found[0].why
    assert found[0].network == "t" and found[0].cure
    # What torch.export has to say about it is no help to the user.
    assert capfd.readouterr() == ("", "")


def test_every_reason_is_reported_with_its_place() -> None:
    network = nn.Sequential()
    network.add_module("first", nn.Conv2d(4, 8, 3, groups=2))
    network.add_module("body", small(lambda m, x: F.mish(F.softplus(x))))
    network.add_module("last", nn.GroupNorm(2, 8))
    with pytest.raises(UnsupportedModelError) as caught:
        capture("t", network, SHAPE, root=HERE)
    found = caught.value.findings
    assert [(item.op, item.module_path) for item in found] == [
        ("conv2d", "first"),
        ("softplus", "body"),
        ("mish", "body"),
        ("group_norm", "last"),
    ]
    assert found[1].location.startswith("test_capture.py:")


def test_unfaithful_capture_is_noticed() -> None:
    # The branch on the batch size is decided once, when the network is exported with two samples.
    module = small(lambda m, x: head(m, m.conv(x)) * (1 if x.shape[0] == 1 else 2))
    with pytest.raises(UnsupportedModelError, match="does not compute what the module computes"):
        capture("t", module, SHAPE)


def test_error_of_the_network_names_its_line() -> None:
    module = small(lambda m, x: m.fc(m.conv(x).flatten(1)))
    with pytest.raises(UserCodeError) as caught:
        capture("t", module, SHAPE, root=HERE)
    place, line = str(caught.value.where).split(":")
    assert place == "test_capture.py"
    assert "m.fc(m.conv(x).flatten(1))" in Path(__file__).read_text().splitlines()[int(line) - 1]
    assert "mat1 and mat2" in str(caught.value.why)


def test_not_a_module() -> None:
    with pytest.raises(UserCodeError, match="returned dict"):
        capture("t", {}, SHAPE)  # type: ignore[arg-type]


def test_weights_that_are_not_finite() -> None:
    module = small(lambda m, x: head(m, m.conv(x)))
    module.get_parameter("conv.weight").data[0, 0, 0, 0] = torch.nan
    with pytest.raises(WeightsError, match=r"conv\.weight"):
        capture("t", module, SHAPE)


@pytest.mark.parametrize("shape", [(8, 8), (0, 8, 8), (1, 2, 3, 4)])
def test_input_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(UnsupportedModelError, match="input shape"):
        capture("t", nn.Identity(), shape)
