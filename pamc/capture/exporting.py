"""From a PyTorch module to a graph, by torch.export; every reason against it is reported at once."""

from __future__ import annotations

import copy
import io
import logging
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.utils import _pytree as pytree

from pamc.capture.program import Translated, translate
from pamc.capture.sites import location_of
from pamc.capture.translation import Normalization
from pamc.errors import Finding, UnsupportedModelError, UserCodeError, WeightsError
from pamc.graph import Graph, verify
from pamc.graph.interpret import evaluate
from pamc.graph.ops import Input

__all__ = ["Normalization", "capture"]

EXAMPLE_BATCH = 2
CHECK_BATCH = 3
SEED = 20210814


def capture(
    name: str,
    module: nn.Module,
    shape: Sequence[int],
    *,
    dtype: str = "float32",
    normalize: Normalization | None = None,
    root: Path | None = None,
) -> Graph:
    """The graph of ``module`` in inference mode; its output is called ``name``.

    ``shape`` is the input's, without the batch: (C, H, W) or (F,). ``dtype`` is what the application feeds:
    ``float32``, or ``uint8``, raw values that are divided by 255. ``normalize`` then becomes part of the graph; the
    module itself sees normalised values. Source locations are written relative to ``root``. The module is not changed.
    A layer that is used several times is copied for each use.

    Raises UserCodeError when the module itself fails, WeightsError for weights that are not finite, and
    UnsupportedModelError with a finding for each part that cannot be compiled.
    """
    _check_input(shape, dtype, normalize)
    source = Input(tuple(shape), dtype)
    reference = _reference(name, module)
    sample = torch.randn((EXAMPLE_BATCH, *source.shape), generator=torch.Generator().manual_seed(SEED))
    findings = _outputs(name, _forward(name, reference, sample, root))
    program = _exported(name, reference, sample, root)
    done = translate(name, program, source, normalize, root)
    findings = [*done.findings, *findings]
    if findings or done.output is None:
        raise UnsupportedModelError(f"network '{name}' cannot be compiled", findings=list(dict.fromkeys(findings)))
    _finite(name, done)
    outputs = {name: done.output}
    _faithful(name, reference, done.builder.graph(outputs), normalize)
    return verify(done.builder.graph(outputs, np.float32), "capture")


def _check_input(shape: Sequence[int], dtype: str, normalize: Normalization | None) -> None:
    if len(shape) not in (1, 3) or min(shape) < 1:
        raise UnsupportedModelError(
            f"the input shape {list(shape)} is not supported", cure="use [channels, height, width] or [features]"
        )
    if dtype not in ("float32", "uint8"):
        raise UnsupportedModelError(f"the input type {dtype} is not supported", cure="use float32 or uint8")
    if normalize is not None and not len(normalize.mean) == len(normalize.std) == shape[0]:
        raise UnsupportedModelError(
            f"normalize has {len(normalize.mean)} means and {len(normalize.std)} deviations for {shape[0]} channels",
            cure="give one of each per channel",
        )


def _reference(name: str, module: nn.Module) -> nn.Module:
    if not isinstance(module, nn.Module):
        raise UserCodeError(
            f"the function of network '{name}' returned {type(module).__name__}", cure="return a torch.nn.Module"
        )
    try:
        return copy.deepcopy(module).cpu().float().eval()
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        raise UserCodeError(f"network '{name}' cannot be copied", why=why, cure="keep only tensors in it") from error


def _forward(name: str, module: nn.Module, x: Tensor, root: Path | None) -> object:
    try:
        with torch.no_grad():
            return module(x)
    except Exception as error:
        raise UserCodeError(
            f"network '{name}' raised for an input of shape {tuple(x.shape)}",
            where=location_of(error, root) or None,
            why=f"{type(error).__name__}: {str(error).strip()}",
            cure="check the network against input.shape of model.yaml",
        ) from error


def _tensors(result: object) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(result) if isinstance(leaf, Tensor)]


def _outputs(name: str, result: object) -> list[Finding]:
    found = _tensors(result)
    if len(found) == 1 and found[0].dim() in (2, 4) and found[0].shape[0] == EXAMPLE_BATCH:
        return []
    if len(found) == 1:
        shape = tuple(found[0].shape)
        why = f"it returns a tensor of shape {shape} for {EXAMPLE_BATCH} samples"
        cure = "return (n, features) or (n, C, H, W): a single number per sample is (n, 1)"
    else:
        why, cure = f"it returns {len(found)} tensors", "return one tensor per network; make each output a task"
    return [Finding(name, "output", "", "", why, cure)]


@contextmanager
def _quiet() -> Iterator[None]:
    """torch.export logs and prints advice to developers of torch; ours is in the findings."""
    logger = logging.getLogger("torch")
    held = logger.level
    children = [logging.getLogger(key) for key in list(logging.root.manager.loggerDict) if key.startswith("torch.")]
    levels = [child.level for child in children]
    with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        for item in (logger, *children):
            item.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            logger.setLevel(held)
            for child, level in zip(children, levels, strict=True):
                child.setLevel(level)


def _exported(name: str, module: nn.Module, sample: Tensor, root: Path | None) -> ExportedProgram:
    try:
        with _quiet(), torch.no_grad():
            program = torch.export.export(module, (sample,), dynamic_shapes=({0: Dim.AUTO},), strict=False)
            functional: ExportedProgram = program.run_decompositions({})
            return functional
    except Exception as error:
        why = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no message'}"
        cure = "write it with tensor operations that torch.export can trace"
        if "DataDependent" in type(error).__name__:
            why = "the control flow depends on the values of a tensor"
            cure = "compute every branch, or make a network per branch"
        finding = Finding(name, "forward", "", location_of(error, root), why, cure)
        raise UnsupportedModelError(f"network '{name}' cannot be compiled", findings=[finding]) from error


def _finite(name: str, done: Translated) -> None:
    bad = [key for key, array in done.builder.params.items() if not np.isfinite(array.astype(np.float32)).all()]
    if bad:
        raise WeightsError(
            f"network '{name}' holds NaN or infinity in {', '.join(bad)}",
            cure="train it again with a smaller learning rate, or load other weights",
        )


def _faithful(name: str, module: nn.Module, graph: Graph, normalize: Normalization | None) -> None:
    x = _samples(graph.input)
    fed = x.double() / 255.0 if x.dtype == torch.uint8 else x
    if normalize is not None:
        mean, std = (torch.tensor(list(values), dtype=torch.float64) for values in (normalize.mean, normalize.std))
        view = (1, -1, *(1,) * (x.dim() - 2))
        fed = (fed - mean.view(view)) / std.view(view)
    error, limit = _error(name, module, graph, x, fed)
    if not error <= limit:
        why = f"the results differ by {error:.1e}, relative to the largest"
        if math.isinf(error):
            why = "its output has another shape, or is not finite"
        raise UnsupportedModelError(
            f"network '{name}': what was captured does not compute what the module computes",
            why=f"{why}: its behaviour depends on the batch size, on earlier calls, or on chance",
            cure="make forward() a pure function of its input that treats every sample alike",
        )


def _error(name: str, module: nn.Module, graph: Graph, x: Tensor, fed: Tensor) -> tuple[float, float]:
    """The largest relative error over a batch and a single sample, and its limit."""
    try:
        twin, dtype, limit = copy.deepcopy(module).double(), torch.float64, 1e-9
        wanted = _results(twin, fed, dtype)
    except Exception:
        # It insists on float32 somewhere; then rounding is all that may differ.
        dtype, limit = torch.float32, 1e-4
        try:
            wanted = _results(module, fed, dtype)
        except Exception:
            return math.inf, limit
    mine = [evaluate(graph, part, dtype=dtype)[name] for part in (x, x[:1])]
    return max(_difference(ours, theirs) for ours, theirs in zip(mine, wanted, strict=True)), limit


def _results(module: nn.Module, x: Tensor, dtype: torch.dtype) -> list[Tensor]:
    with torch.no_grad():
        return [_tensors(module(part.to(dtype)))[0] for part in (x, x[:1])]


def _samples(node: object) -> Tensor:
    op = getattr(node, "op", None)
    assert isinstance(op, Input)
    generator = torch.Generator().manual_seed(SEED + 1)
    size = (CHECK_BATCH, *op.shape)
    if op.dtype == "uint8":
        return torch.randint(0, 256, size, generator=generator, dtype=torch.uint8)
    return torch.randn(size, generator=generator, dtype=torch.float64)


def _difference(mine: Tensor, wanted: Tensor) -> float:
    if mine.shape != wanted.shape or not torch.isfinite(wanted).all():
        return math.inf
    return float((mine - wanted).abs().max() / wanted.abs().max().clamp(min=1e-30))
