"""Iterative pruning: train a little, prune a little, then find the smallest network inside the budget.

Every step leaves a snapshot. With a cost budget the last one is fine-tuned; with an accuracy budget a bisection over
the snapshots fine-tunes candidates until the smallest that keeps every task within its drop is found, and from there
the descent goes on: a merged network is not finished when one task has used up its budget, while others have not.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from pamc.errors import GoalMissedError
from pamc.graph import MultitaskGraph, expected_macs, verify_multitask
from pamc.graph.owners import DTYPE
from pamc.prune.drops import balanced, excess, most_over, used_up
from pamc.prune.layers import one_unit_each
from pamc.prune.registry import Pruning
from pamc.prune.snapshots import Descent, Snapshot, Tried, united
from pamc.prune.state import Cut, State, compacted
from pamc.train import Recipe, fit

__all__ = ["SEEDS", "OutdoneError", "Schedule", "Search", "Step"]

Step = Callable[[State, Recipe, Cut], tuple[State, MultitaskGraph]]
"""``(state, recipe, cut) -> (the same trained by the recipe, its network pruned with dead units still in it)``.

What the trained state remembers goes on with the units that
are left.
"""


@dataclass(frozen=True)
class Schedule:
    """``step`` is the fraction of the cost that one iteration removes after ``recover`` mini-batches;
    ``warmup`` epochs heal the merge first, ``epochs`` fine-tune a candidate. Pruning for an accuracy budget stops
    once a task's drop, not yet fine-tuned, exceeds its budget by ``slack`` times the budget. From the smallest network
    found it goes on, by steps of half the size once larger ones went too far, until they were halved ``halvings``
    times. Then, ``detours`` times, what the step that went too far took is spared, and others go. A candidate that
    misses by little is fine-tuned up to ``attempts`` times. The whole search for an accuracy budget starts ``restarts``
    times, with other mini-batches, and the cheapest network is kept: which units go first decides where it ends. Of
    several, the one that runs first prunes the layer of the dearest units first, and all else from there."""

    step: float = 0.12
    recover: int = 60
    warmup: float = 1.0
    epochs: float = 8.0
    slack: float = 3.0
    halvings: int = 1
    detours: int = 1
    attempts: int = 3
    restarts: int = 2


STALLED = 0.1
HEALINGS = 3
SEEDS = 1000
"""How far apart the seeds of two restarts are: more than a search takes steps."""
TUNED_BALANCE = 1.5
NEAR_MISS = 1.5


class OutdoneError(Exception):
    """A search that is not gone on with: what it could find would cost no less than what is there."""


class Search:
    """One search; of the units of a ``layer`` alone, each with all its tasks or not at all, where there is one. It
    gives up, with an OutdoneError, where a task by itself has no candidate that costs less than ``beat``. One that
    is ``early`` fine-tunes candidates on the way down, for steps that train longer than a candidate."""

    def __init__(
        self,
        pruning: Pruning,
        schedule: Schedule,
        step: Step,
        restart: int = 0,
        layer: str | None = None,
        beat: float = math.inf,
        early: bool = False,
    ) -> None:
        self.pruning = pruning
        self.schedule = schedule
        self.step = step
        self.restart = restart
        self.layer = layer
        self.beat = beat
        self.early = early

    def recipe(self, steps: int, seed: int, snapshot: Snapshot) -> Recipe:
        settings = self.pruning.settings
        seed += self.pruning.seed + SEEDS * self.restart
        weights, frozen = snapshot.weights, snapshot.finished
        return Recipe(steps, settings.batch_size, settings.learning_rate, settings.distill, seed, weights, frozen)

    def stored(self, name: str, make: Callable[[], MultitaskGraph]) -> MultitaskGraph:
        held = self.pruning.checkpoints.get(name)
        if held is None:
            held = State(make())
            self.pruning.checkpoints.put(name, held)
        return held.net

    def start(self, net: MultitaskGraph, finished: int = 0) -> Snapshot:
        path, spared = f"{self.restart}", {}
        if self.layer is not None:
            path = f"{path}-{self.layer}"
            spared = {space: net.owners[space] for space in net.prunable if space != self.layer}
        return Snapshot(State(net), dict.fromkeys(net.tasks, 1.0), path, spared, finished=finished)

    def warm(self, start: Snapshot) -> MultitaskGraph:
        steps = round(self.schedule.warmup * self.pruning.steps_per_epoch())
        return self.stored(
            f"warm-{start.path}",
            lambda: fit(
                start.state.net,
                self.pruning.train,
                self.pruning.targets,
                self.recipe(steps, 1, start),
                self.pruning.progress,
                label="healing the merge",
            ),
        )

    def tuned(self, index: int, snapshot: Snapshot, attempt: int = 1) -> MultitaskGraph:
        epochs = self.pruning.settings.epochs
        steps = round((self.schedule.epochs if epochs is None else epochs) * self.pruning.steps_per_epoch())
        return self.stored(
            f"tuned-{snapshot.path}-{attempt}",
            lambda: fit(
                snapshot.state.net,
                self.pruning.train,
                self.pruning.targets,
                self.recipe(steps, 1 + attempt, snapshot),
                self.pruning.progress,
                label=f"fine-tuning candidate {index}",
            ),
        )

    def warmed(self, start: Snapshot) -> Snapshot:
        """The start, trained; longer when the merge cost a task so much that no cut could be judged."""
        pruning = self.pruning
        start = replace(start, state=State(self.warm(start)), path=f"{start.path}w")
        for _ in range(HEALINGS if pruning.budget.macs is None else 0):
            share = self.used(pruning.drops(start.state.net))
            if share <= 1 + self.schedule.slack:
                break
            pruning.progress.note(f"{share:.1f} times the budget before any cut, trained longer")
            net, drops = self.candidate(0, start)
            weights = balanced(pruning, start.weights, drops)
            start = replace(start, state=State(net), weights=weights, path=f"{start.path}h")
        return start

    def used(self, drops: Mapping[str, float]) -> float:
        """What the worst task has used of the whole budget, of which this search may have a part."""
        return max(used_up(self.pruning, drops).values(), default=0.0) * self.pruning.budget.fraction

    def descend(self, start: Snapshot, fraction: float) -> Descent:
        """Step after step, until the budget is passed by too much or nothing is left to take.

        An early search fine-tunes the snapshots 2, 4, 8 ... steps after the last that keeps the budget as it is: where
        one breaks the budget, so does all that comes after it.
        """
        pruning = self.pruning
        snapshots, inside = [start], 0
        tried: dict[int, Tried] = {}
        weights = start.weights
        whole = pruning.macs(start.state.net)
        while True:
            last = snapshots[-1]
            count = len(snapshots)
            current = pruning.macs(last.state.net)
            if pruning.budget.macs is not None and current <= pruning.budget.macs:
                return Descent(snapshots, count - 1)
            beyond = count - 1 - inside
            if self.early and beyond > 1 and beyond.bit_count() == 1:
                tried[count - 1] = self.judged(count - 1, last)
                if most_over(pruning, tried[count - 1][1]) is not None:
                    return Descent(snapshots, inside, tried)
            least = self.least(last)
            wanted = max(current - fraction * (current - least), pruning.budget.macs or 0.0)
            trained, after = self.advance(count, replace(last, weights=weights), wanted)
            drops = pruning.drops(trained)
            weights = balanced(pruning, weights, drops)
            if excess(pruning, drops) <= 0:
                inside = count - 1
            if pruning.budget.macs is None and self.used(drops) > 1 + self.schedule.slack:
                return Descent(snapshots, inside, tried)
            smaller = pruning.macs(after.state.net)
            if smaller < current:
                left = 100 * smaller / whole
                pruning.progress.note(f"step {count}: {smaller / 1e6:.4g} M MACs, {left:.1f} % of the start")
                snapshots.append(replace(after, weights=weights))
            if current - smaller <= STALLED * (current - wanted):
                # Every further step takes as much training as one that saves something.
                return Descent(snapshots, inside, tried, ended=True)

    def least(self, snapshot: Snapshot) -> float:
        """What the network costs whatever is taken from it: its finished tasks, or all but the layer."""
        net, pruning = snapshot.state.net, self.pruning
        if self.layer is not None:
            return pruning.macs(one_unit_each(net, self.layer))
        return expected_macs(net, pruning.narrowed(snapshot.finished)) if snapshot.finished else 0.0

    def advance(self, count: int, snapshot: Snapshot, wanted: float) -> tuple[MultitaskGraph, Snapshot]:
        """One step: the network trained, and the same pruned and compact with what is remembered of it."""
        spared = {space: vector.tolist() for space, vector in snapshot.spared.items()}
        also = f"{spared or ''} {snapshot.finished or ''}"
        path = hashlib.sha256(f"{snapshot.path} {wanted:.9g} {also}".encode()).hexdigest()[:16]
        names = [f"{name}-{path}" for name in ("trained", "pruned")]
        before, after = (self.pruning.checkpoints.get(name) for name in names)
        if before is None or after is None:
            recipe = self.recipe(self.schedule.recover, 10 + count, snapshot)
            trained, raw = self.step(snapshot.state, recipe, Cut(wanted, snapshot.fixed, whole=self.layer is not None))
            before, after = State(trained.net), State(raw, trained.memory)
            for name, state in zip(names, (before, after), strict=True):
                self.pruning.checkpoints.put(name, state)
        pruned = compacted(after)
        verify_multitask(pruned.net, f"pruning step {count}")
        owners = before.net.owners
        lost = {space: owners[space] & ~after.net.owners[space] for space in before.net.prunable}
        marks = {space: vector[None].astype(np.float64) for space, vector in snapshot.spared.items()}
        kept = compacted(State(after.net, marks)).memory
        left = {space: vector[0].astype(DTYPE) for space, vector in kept.items()}
        return before.net, Snapshot(pruned, snapshot.weights, path, left, lost, snapshot.finished)

    def candidate(self, index: int, snapshot: Snapshot) -> Tried:
        """A snapshot fine-tuned, and its drops; a near miss is trained on, with the tasks that miss weighing more."""
        attempt = 1
        while True:
            net = self.tuned(index, snapshot, attempt)
            drops = self.pruning.drops(net)
            share = max(used_up(self.pruning, drops).values(), default=0.0)
            if attempt == self.schedule.attempts or not 1 < share <= NEAR_MISS:
                return net, drops
            snapshot = replace(snapshot, state=State(net), weights=balanced(self.pruning, snapshot.weights, drops))
            attempt += 1

    def judged(self, index: int, snapshot: Snapshot) -> Tried:
        """A candidate and its drops, and a word on whether it keeps the budget."""
        net, drops = self.candidate(index, snapshot)
        worst = most_over(self.pruning, drops)
        over = f"{excess(self.pruning, drops):.2f} over the budget, most of all {worst}"
        self.pruning.progress.note(f"candidate {index}: {'inside the budget' if worst is None else over}")
        return net, drops

    def smallest(self, descent: Descent, proven: Snapshot | None, beat: float) -> tuple[Snapshot | None, str | None]:
        """Bisect: a candidate that keeps the budget moves the lower end up, one that breaks it the upper end down.

        ``proven`` is the first snapshot where it is known to keep the budget. What does not cost less than ``beat`` is
        no candidate. Returns the smallest that keeps the budget, fine-tuned, and the task that broke its budget most
        of all in the candidate after it.
        """
        snapshots = descent.snapshots
        dear = sum(self.pruning.macs(snapshot.state.net) >= beat for snapshot in snapshots) - 1
        low, high, best, broken = max(dear, -1 if proven is None else 0), len(snapshots), proven, None
        # Fine-tuning only helps, so the end of the range lies somewhere after the guess.
        guess = min(max((descent.inside + len(snapshots)) // 2, low + 1), len(snapshots) - 1)
        probes = sorted(index for index in descent.tried if index > low) or [guess]
        while high - low > 1:
            probe = probes.pop(0) if probes else (low + high) // 2
            snapshot = snapshots[probe]
            net, drops = descent.tried[probe] if probe in descent.tried else self.judged(probe, snapshot)
            worst = most_over(self.pruning, drops)
            if worst is None:
                low = probe
                weights = balanced(self.pruning, snapshot.weights, drops, TUNED_BALANCE)
                best = Snapshot(State(net, snapshot.state.memory), weights, f"{snapshot.path}t", snapshot.spared)
            else:
                high, broken = probe, worst
        return best, broken

    def within(self, start: Snapshot) -> Snapshot:
        """The smallest network found that keeps every task's budget: from each one found the descent goes on.

        Once small steps fail at some of the tasks, those are finished: the others' cost goes on falling without them.
        The result says which are.
        """
        first, net, finished = start, start.state.net, start.finished
        # What computes as the originals do needs no training to keep the budget, and small data would only harm it.
        kept = excess(self.pruning, self.pruning.drops(net)) <= 0
        best = start if kept else None
        if not kept:
            start = self.warmed(start)
        halved = detours = 0
        while True:
            descent = self.descend(replace(best or start, finished=finished), self.schedule.step / 2**halved)
            if best is start and descent.refused:
                # The training before the first cut broke the budget, so cuts go on from where training ends.
                start, best = self.warmed(start), None
                continue
            # Where one of several tasks ends a descent, the others may still go far.
            beat = self.beat if (net.everyone & ~finished).bit_count() == 1 else math.inf
            found, broken = self.smallest(descent, best, beat)
            if beat < math.inf and (found is None or self.pruning.macs(found.state.net) >= beat):
                raise OutdoneError
            if found is None:
                break
            smallest = descent.snapshots[-1].state.net
            far, stuck = self.pruning.macs(found.state.net) > self.pruning.macs(smallest), found is best
            best = found
            if descent.ended and not far:
                break
            if halved < self.schedule.halvings:
                halved += far or stuck
            elif stuck:
                # A task alone has nobody to go on with.
                with_it = finished if broken is None else finished | net.task_set([broken])
                if with_it not in (finished, net.everyone):
                    finished = with_it
                    self.pruning.progress.note(f"{broken} is finished, on with the others")
                    continue
                if detours == self.schedule.detours or len(descent.snapshots) == 1:
                    break
                detours += 1
                best = replace(best, spared=united(best.spared, descent.snapshots[1].lost))
        if best is not None:
            return replace(best, finished=finished)
        if kept:
            return first
        _, drops = self.candidate(0, start)
        worst = ", ".join(f"{task} by {value:.2f}" for task, value in drops.items())
        raise GoalMissedError(
            "no network keeps every task inside its accuracy budget",
            why=f"even before pruning, after fine-tuning, the tasks drop: {worst}",
            cure="raise max_drop, train longer (train: {epochs: ...}), give more data, or merge less",
        )
