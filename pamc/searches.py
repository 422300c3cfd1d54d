"""The searches of a build, each a cached stage: the merged network within the user's budget, and each network alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from pamc.graph import MultitaskGraph, cost, expected_macs, restrict
from pamc.jobs import InTurn, Jobs
from pamc.progress import Progress
from pamc.prune import METHODS, Alone, Budget, Pruning, Settings
from pamc.prune.effort import search_options
from pamc.scoring import Scorer
from pamc.spec import Spec
from pamc.stages import StageRunner
from pamc.train import Samples, takes_the_machine

__all__ = ["Searches", "workload_of"]


def workload_of(spec: Spec, tasks: Sequence[str]) -> Mapping[int, float]:
    """The workload over the task sets of ``tasks``; what others ask for does not matter to them."""
    total: dict[int, float] = {}
    for text, chance in spec.workload.items():
        mask = sum(1 << tasks.index(name) for name in text.split("+") if name in tasks)
        if mask and chance:
            total[mask] = total.get(mask, 0.0) + chance
    scale = sum(total.values())
    if not scale:
        return {(1 << len(tasks)) - 1: 1.0}
    return {mask: chance / scale for mask, chance in sorted(total.items())}


@dataclass(frozen=True)
class Searches:
    """What all searches of a build have in common: ``separate`` are the networks as they came, and the stage that made
    them has the key ``separate_key``; ``identity`` is that of the data."""

    spec: Spec
    separate_key: str
    separate: MultitaskGraph
    train: Samples
    identity: str
    scorer: Scorer
    stages: StageRunner
    channel_tile: int

    @property
    def settings(self) -> Settings:
        """How networks are trained on the way."""
        return Settings(**{name: value for name, value in asdict(self.spec.train).items() if value is not None})

    @property
    def options(self) -> Any:
        """Those of the pruner, by the effort that the user wants."""
        prune = self.spec.prune
        return search_options(prune.method, prune.effort, prune.options)

    @property
    def side_by_side(self) -> bool:
        """Whether several can run at once: not where each has the whole machine to itself."""
        work = cost(self.separate, self.separate.everyone).macs * self.settings.batch_size
        return not takes_the_machine(work)

    def merged(
        self, made: str, net: MultitaskGraph, alone: Alone, merged: Callable[[str], MultitaskGraph], jobs: Jobs
    ) -> MultitaskGraph:
        """Prune the network of all tasks, which the stage with the key ``made`` made."""
        key, problem = self._problem(made, net, self.separate)
        problem = replace(problem, alone=alone, merged=merged, jobs=jobs)
        return self._run(key, net, problem, f"prune ({self.spec.prune.method})")

    def alone(self, jobs: Jobs) -> Alone:
        """What prunes every network by itself, each once for a fraction of its budget."""
        found: dict[tuple[str, float], MultitaskGraph] = {}

        def find(pairs: Sequence[tuple[str, float]], jobs: Jobs) -> None:
            results = jobs.run({_title(*pair): partial(self._alone, *pair) for pair in pairs})
            for pair, (net, seconds) in zip(pairs, results, strict=True):
                found[pair] = net
                self.stages.seconds[_title(*pair)] = seconds

        def alone(fractions: Sequence[float]) -> Sequence[Mapping[str, MultitaskGraph]]:
            pairs = [(task, fraction) for fraction in fractions for task in self.separate.tasks]
            # No process is worth starting for what only has to be read.
            find([pair for pair in pairs if pair not in found and self._kept(*pair)], InTurn(self.stages.progress))
            find([pair for pair in pairs if pair not in found], jobs)
            return [{task: found[task, fraction] for task in self.separate.tasks} for fraction in fractions]

        return alone

    def _kept(self, task: str, fraction: float) -> bool:
        one = restrict(self.separate, [task])
        return self.stages.holds("prune", self._problem(self.separate_key, one, one, fraction)[0])

    def _alone(self, task: str, fraction: float, progress: Progress) -> tuple[MultitaskGraph, float]:
        """The network of one task, and how many seconds it took, as a job."""
        self.stages.progress = progress
        one, title = restrict(self.separate, [task]), _title(task, fraction)
        key, problem = self._problem(self.separate_key, one, one, fraction)
        return self._run(key, one, problem, title), self.stages.seconds[title]

    def _problem(
        self, made: str, net: MultitaskGraph, separate: MultitaskGraph, fraction: float = 1.0
    ) -> tuple[str, Pruning]:
        """To prune ``net``, which the stage ``made`` made of all or some of the spec's tasks, within a fraction of the
        accuracy budget. The key of that stage comes first."""
        spec, stages, options = self.spec, self.stages, self.options
        workload = workload_of(spec, net.tasks)
        budget = self._budget(separate, workload, fraction)
        targets = tuple(target for target in self.scorer.targets if target.task in net.tasks)
        steps = stages.key(
            "prune",
            made,
            list(net.tasks),
            spec.prune.method,
            options,
            sorted(workload.items()),
            self.settings,
            targets,
            self.identity,
            spec.seed,
            self.channel_tile if getattr(options, "tile", None) == "target" else None,
        )
        key = stages.key(steps, budget.macs, sorted((budget.workload or {}).items()), sorted(budget.max_drop.items()))
        problem = Pruning(
            train=self.train,
            targets=targets,
            workload=workload,
            budget=budget,
            drops=self.scorer.drops,
            settings=self.settings,
            seed=spec.seed,
            progress=stages.progress,
            # The budget of a single task decides where its steps end, not what they are.
            checkpoints=stages.checkpoints("prune", key if len(net.tasks) > 1 else steps),
            channel_tile=self.channel_tile,
        )
        return key, problem

    def _run(self, key: str, net: MultitaskGraph, problem: Pruning, title: str) -> MultitaskGraph:
        method = METHODS.get(self.spec.prune.method).function
        return self.stages.run("prune", key, lambda: method(net, problem, self.options), title=title)

    def _budget(self, separate: MultitaskGraph, workload: Mapping[int, float], fraction: float) -> Budget:
        spec = self.spec
        budget, allowed = spec.prune.budget, spec.max_drops
        # What int8 loses counts as well, and is known only when the network is finished.
        fraction *= 1 - spec.quantize.reserve if spec.quantize.kind == "int8" else 1
        within = {
            task: fraction * drop for task, drop in allowed.items() if drop is not None and task in separate.tasks
        }
        # A budget of MACs is the cost of all tasks at once: an expectation under a workload of its own.
        own = None if budget.macs is None else {separate.everyone: 1.0}
        part = budget.expected_macs if budget.macs is None else budget.macs
        macs = None if part is None else part * expected_macs(separate, own or workload)
        return Budget(macs, within, fraction, own)


def _title(task: str, fraction: float) -> str:
    return f"prune {task} alone" if fraction == 1 else f"prune {task} alone, {fraction:.0%} of its budget"
