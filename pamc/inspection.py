"""What is in a bundle, for `pamc inspect`."""

from __future__ import annotations

from pamc.bundle import Bundle
from pamc.bundle.plans import plans_of
from pamc.errors import ConfigError
from pamc.ownership import ownership_view
from pamc.redundancy import read_redundancy, redundancy_view
from pamc.registry import did_you_mean
from pamc.task_sets import UnknownTaskError, parse_task_set
from pamc.views import View, network_view, plan_view

__all__ = ["inspect_bundle", "inspect_owners", "inspect_plan", "inspect_redundancy"]


def inspect_bundle(bundle: Bundle) -> View:
    """The graph, the owners of its units, and the cost of every task set that the build reported."""
    net, manifest = bundle.net, bundle.manifest
    notes = {text: "yes" if entry.emitted else "on demand" for text, entry in manifest.task_sets.items()}
    requests = [net.task_set(text.split("+")) for text in manifest.task_sets]
    view = network_view(net, requests, {"": "emitted", **notes})
    head = (
        f"bundle {manifest.name} for {manifest.target}, made by merge {manifest.merge.method} "
        f"and prune {manifest.prune.method}\n\n"
    )
    return View(head + view.text, {"name": manifest.name, "target": manifest.target, **view.data})


def inspect_owners(bundle: Bundle) -> View:
    """Who owns which units, drawn."""
    return ownership_view(bundle.net)


def inspect_plan(bundle: Bundle, task_set: str) -> View:
    """The plan of one task set, layer by layer. Raises ConfigError for a task that does not exist."""
    net = bundle.net
    known = f"the bundle has: {', '.join(net.tasks)}"
    try:
        text = parse_task_set(task_set, net.tasks)
    except UnknownTaskError as error:
        raise ConfigError(f"{error}{did_you_mean(error.name, net.tasks)}", cure=known) from None
    except ValueError as error:
        raise ConfigError(str(error), cure=known) from None
    return plan_view(plans_of(bundle, text)[text], net.tasks)


def inspect_redundancy(bundle: Bundle) -> View:
    """What the build found out about redundancy. Raises ConfigError for a bundle that holds no such analysis."""
    return redundancy_view(read_redundancy(bundle))
