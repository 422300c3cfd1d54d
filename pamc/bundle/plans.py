"""The plans of a bundle's task sets, lowered again as the build lowered them."""

from __future__ import annotations

from dataclasses import replace

from pamc.bundle.read import Bundle
from pamc.lower import Plan, load_target, lower
from pamc.lower.target import read_costs

__all__ = ["COSTS", "plans_of"]

COSTS = "costs.yaml"
"""What operations took where the bundle was lowered for; not there when nobody knew."""


def plans_of(bundle: Bundle, *task_sets: str) -> dict[str, Plan]:
    """The plans of all task sets of the manifest and of ``task_sets``, in task order.

    What folds depends on the task sets that share the files, and on how likely each is.
    """
    net, manifest = bundle.net, bundle.manifest
    requests = dict.fromkeys(net.task_set(text.split("+")) for text in (*manifest.task_sets, *task_sets))
    workload = {net.task_set(text.split("+")): chance for text, chance in manifest.workload.items() if chance}
    costs = read_costs(bundle.file(COSTS)) if COSTS in manifest.files else None
    target = replace(load_target(manifest.target), costs=costs)
    plans = lower(net, list(requests), target, bundle.numerics, workload, manifest.fold_bytes)
    return {plan.task_set: plan for plan in plans.values()}
