"""A complete small project on disk, as a user would have it, and the command line to build it with."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage

import torch
from safetensors.torch import save
from torch import nn
from torch.nn import functional as F

from pamc.build import BuildOptions, BuildResult, build
from pamc.config import load_spec
from pamc.progress import Progress, QuietProgress
from tests.builds.sample import data, nets

__all__ = ["QUICK", "Net", "Project", "Run", "make_project", "trained"]

SAMPLE = Path(__file__).parent / "sample"
CLASSES = {"digit": 10, "parity": 2, "big": 2, "ink": 1}
# Steps so short that a build takes seconds; what is tested is the pipeline, not the accuracy.
QUICK = "{step: 0.3, recover: 4, warmup: 0.3, epochs: 1, slack: 20}"
SECTIONS: Mapping[str, str | None] = {
    "schema_version": "1",
    "name": "kit",
    "data": '{train: "data.py:train", eval: "data.py:evaluate"}',
    "merge": "{method: pam, options: {samples: 64}}",
    "prune": f"{{method: taylor, budget: {{macs: 0.6}}, options: {QUICK}}}",
    "train": "{epochs: 1, batch_size: 64}",
    "baseline": "false",
}


@dataclass(frozen=True)
class Net:
    """A network of ``sample/nets.py`` for one task."""

    task: str
    width: int = 8
    function: str = "conv_net"


@cache
def trained(net: Net, seed: int = 0) -> bytes:
    """Safetensors of a trained network; each is trained once per process, in about a second."""
    x, labels = data.part(data.TRAINING)
    inputs, wanted = torch.from_numpy(x), torch.from_numpy(labels[net.task])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module: nn.Module = getattr(nets, net.function)(CLASSES[net.task], net.width)
        optimizer = torch.optim.Adam(module.parameters(), lr=5e-3)
        for _ in range(6):
            for chosen in torch.randperm(len(inputs)).reshape(-1, 50):
                answers = module(inputs[chosen])
                labelled = wanted[chosen]
                loss = F.cross_entropy(answers, labelled) if labelled.dim() == 1 else F.mse_loss(answers, labelled)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
    return save(module.state_dict())


@dataclass(frozen=True)
class Run:
    """A finished command."""

    code: int
    out: str
    err: str
    cpu_seconds: float


@dataclass(frozen=True)
class Project:
    """The folder ``root`` with model.yaml, its code and its weights; the cache lies beside it."""

    root: Path
    cache: Path = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "cache", self.root.parent / f"{self.root.name}-cache")

    @property
    def out(self) -> Path:
        """Where a command without --out writes."""
        return self.root / "build" / "kit"

    def replace(self, name: str, old: str, new: str) -> None:
        """Change a file, which must hold the text."""
        text = (self.root / name).read_text()
        assert old in text
        (self.root / name).write_text(text.replace(old, new))

    def start(self, *args: str | Path) -> subprocess.Popen[str]:
        """Start a command in the project's folder, with one thread and a cache of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "pamc", *map(str, args)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.root,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PAMC_CACHE": str(self.cache), "COLUMNS": "120"},
            # A shell that runs the tests in the background makes them, and all that they start, deaf to Ctrl-C.
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        )

    def pamc(self, *args: str | Path) -> Run:
        """Run a command to its end."""
        before = getrusage(RUSAGE_CHILDREN)
        with self.start(*args) as process:
            out, err = process.communicate(timeout=180)
        after = getrusage(RUSAGE_CHILDREN)
        cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
        return Run(process.returncode, out, err, cpu)

    def build(
        self,
        out: Path | None = None,
        *,
        cache_dir: Path | None = None,
        stop_after: str | None = None,
        dry_run: bool = False,
        progress: Progress | None = None,
        jobs: int = 1,
    ) -> BuildResult:
        """Build in this process."""
        options = BuildOptions(
            out or self.out,
            target="x86_64",
            stop_after=stop_after,
            dry_run=dry_run,
            cache_dir=cache_dir or self.cache,
            jobs=jobs,
        )
        return build(load_spec(self.root / "model.yaml"), options, progress or QuietProgress())

    def files(self) -> set[str]:
        """Every file and folder of the project that Python did not make."""
        found = (path.relative_to(self.root) for path in self.root.rglob("*"))
        return {path.as_posix() for path in found if "__pycache__" not in path.parts}


def make_project(
    root: Path,
    tasks: tuple[Net, ...] = (Net("digit"), Net("parity"), Net("big")),
    *,
    metrics: Mapping[str, str] | None = None,
    **sections: str | None,
) -> Project:
    """Write a project; ``sections`` replace whole sections of model.yaml, None leaves one out."""
    root.mkdir()
    for name in ("nets.py", "data.py"):
        shutil.copyfile(SAMPLE / name, root / name)
    lines = [f"{key}: {text}" for key, text in {**SECTIONS, **sections}.items() if text is not None]
    lines.append("tasks:")
    for net in tasks:
        (root / f"{net.task}.safetensors").write_bytes(trained(net))
        metric = (metrics or {}).get(net.task, "accuracy")
        args = f"{{classes: {CLASSES[net.task]}, width: {net.width}}}"
        lines += [
            f"  {net.task}:",
            f'    model: "nets.py:{net.function}"',
            f"    args: {args}",
            f"    weights: {net.task}.safetensors",
            f"    metric: {metric}",
        ]
    (root / "model.yaml").write_text("\n".join(lines) + "\n")
    return Project(root)
