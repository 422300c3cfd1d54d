"""`pamc deploy`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pamc.cli.common import json_option, make_progress, output_options, print_json
from pamc.errors import ConfigError

if TYPE_CHECKING:
    from pamc.bundle import Bundle
    from pamc_devices.base import Device
    from pamc_devices.deploy import Outcome
    from pamc_devices.deployment import Parcel
    from pamc_devices.planning import Plan
    from pamc_devices.store import Survey

__all__ = ["command"]

_RUNTIMES = ("onnxruntime", "litert")


@click.command("deploy")
@click.argument("bundle", type=click.Path(path_type=Path), required=False)
@click.option("--device", "url", metavar="URL", required=True, help="Where to, such as ssh://pi@board or adb://SERIAL.")
@click.option("--tasks", multiple=True, metavar="A+B", help="Just these task sets; may be repeated.  [default: all]")
@click.option("--runtime", type=click.Choice(_RUNTIMES), help="What runs the networks.  [default: the first that fits]")
@click.option("--threads", type=click.IntRange(1, 64), default=1, help="Threads of the self-test.")
@click.option("--prune", is_flag=True, help="Remove deployments that are neither current nor previous.")
@click.option("--dry-run", is_flag=True, help="Say what would be sent; change nothing.")
@click.option("--list", "listed", is_flag=True, help="Show what is deployed.")
@click.option("--rollback", metavar="NAME", help="Use the previous deployment of a bundle again.")
@click.option("--remove", metavar="NAME", help="Take a bundle off the device.")
@json_option
@output_options
def command(
    bundle: Path | None,
    url: str,
    tasks: tuple[str, ...],
    runtime: str | None,
    threads: int,
    prune: bool,
    dry_run: bool,
    listed: bool,
    rollback: str | None,
    remove: str | None,
    as_json: bool,
) -> None:
    """Bring BUNDLE to a device, prove it there and switch to it.

    Only files that the device lacks are sent. Every task set is run on the device on the bundle's test vectors; when
    one answers wrong, the exit code is 4 and the deployment before stays in use.
    """
    actions = [bundle is not None, listed, rollback is not None, remove is not None, prune and bundle is None]
    if sum(actions) != 1:
        raise click.UsageError("name a BUNDLE, or one of --list, --rollback, --remove and --prune")
    if bundle is None and (tasks or runtime or dry_run):
        raise click.UsageError("--tasks, --runtime and --dry-run need a BUNDLE")

    from pamc_devices.find import opened

    with opened(url) as device:
        if bundle is not None:
            _deploy(device, bundle, tasks, runtime, threads, prune, dry_run, as_json)
        elif listed:
            _list(device, as_json)
        elif rollback is not None:
            _roll_back(device, rollback, threads, as_json)
        else:
            _remove(device, remove, as_json)


def _deploy(
    device: "Device",
    path: Path,
    tasks: Sequence[str],
    runtime: str | None,
    threads: int,
    prune: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    from pamc.bundle import open_bundle
    from pamc_devices.deploy import deploy, look
    from pamc_devices.lock import locked

    bundle = open_bundle(path)
    runtimes = _runtimes(bundle, runtime)
    chosen = _task_sets(bundle, tasks, runtimes)
    bundle.check_hashes()
    if dry_run:
        _show_plan(device, look(device, _pack(device, bundle, chosen, runtimes), prune=prune), as_json)
        return
    progress = make_progress()
    with locked(device, "pamc deploy"):
        parcel = _pack(device, bundle, chosen, runtimes)
        with progress.stage("deploy", device.url):
            outcome = deploy(device, parcel, prune=prune, threads=threads, note=progress.note)
    if as_json:
        print_json(_as_data(outcome))
        return
    deployment, plan = outcome.deployed.deployment, outcome.plan
    worst = max((line.error / line.limit for line in outcome.checks if line.error and line.limit), default=0.0)
    emulated = " (emulated)" if device.emulated else ""
    click.echo(
        f"{deployment.name} on {device.url}{emulated}, by {deployment.runtime}: {', '.join(deployment.task_sets)}"
    )
    click.echo(f"sent {len(plan.send)} of {len(deployment.all_files)} files, {plan.send_bytes:,} bytes")
    click.echo(f"{len(outcome.checks)} outputs are right there; the worst is off by {worst:.1%} of the limit")
    click.echo(f"{outcome.deployed.folder}: the deployment" + ("" if plan.switches else ", in use before"))


def _runtimes(bundle: "Bundle", asked: str | None) -> tuple[str, ...]:
    """The runtimes to try, for whose format the bundle has networks."""
    from pamc_devices.deployment import FORMATS

    served = tuple(name for name in _RUNTIMES if FORMATS[name] in bundle.formats)
    if asked is None and served:
        return served
    if asked not in served:
        has = f"it has: {', '.join(bundle.formats)}" if bundle.formats else None
        wanted = FORMATS[asked] if asked else " or ".join(FORMATS.values())
        raise ConfigError(
            f"the bundle has no networks in the format {wanted}",
            where=str(bundle.path),
            why=has,
            cure=f"build it with --emit {wanted.replace(' or ', ',')}",
        )
    return (asked,)


def _task_sets(bundle: "Bundle", tasks: Sequence[str], runtimes: Sequence[str]) -> tuple[str, ...]:
    from pamc.slicing import chosen_sets
    from pamc_devices.deployment import task_sets_in

    chosen = chosen_sets(bundle, [], [item.strip() for text in tasks for item in text.split(",") if item.strip()])
    for runtime in runtimes:
        if absent := [text for text in chosen if text not in task_sets_in(bundle, runtime)]:
            raise ConfigError(
                f"task set {absent[0]} has no network for {runtime} in the bundle", where=str(bundle.path)
            )
    return chosen


def _pack(device: "Device", bundle: "Bundle", task_sets: Sequence[str], runtimes: Sequence[str]) -> "Parcel":
    from pamc_devices.deployment import pack
    from pamc_devices.probe import probe
    from pamc_devices.programs import choose_program

    program = choose_program(probe(device), runtimes, make_progress().note)
    return pack(bundle, task_sets, program)


def _show_plan(device: "Device", plan: "Plan", as_json: bool) -> None:
    sent = [{"path": path, "sha256": sha, "bytes": size} for sha, path, size in plan.send]
    if as_json:
        print_json(
            {
                "device": device.url,
                "send": sent,
                "send_bytes": plan.send_bytes,
                "free_bytes": plan.free_bytes,
                "assemble": plan.assemble,
                "switch": plan.switches,
                "remove": list(plan.remove),
            }
        )
        return
    for _, path, size in plan.send:
        click.echo(f"send {path} ({size:,} bytes)")
    click.echo(f"{plan.send_bytes:,} bytes to send, {plan.free_bytes:,} free there")
    click.echo("then: test every task set there" + (", switch to it" if plan.switches else "; it is in use already"))
    for path in plan.remove:
        click.echo(f"remove {path}")


def _as_data(outcome: "Outcome") -> dict[str, Any]:
    deployed, plan = outcome.deployed, outcome.plan
    return {
        "device": deployed.device.url,
        "emulated": deployed.device.emulated,
        "name": deployed.deployment.name,
        "id": deployed.deployment.id,
        "folder": deployed.folder,
        "runtime": deployed.deployment.runtime,
        "task_sets": list(deployed.deployment.task_sets),
        "sent": [{"path": path, "sha256": sha, "bytes": size} for sha, path, size in plan.send],
        "sent_bytes": plan.send_bytes,
        "switched": plan.switches,
        "previous": plan.pointer.previous,
        "removed": list(plan.remove),
        "checks": [
            {"task_set": line.task_set, "task": line.task, "error": line.error, "limit": line.limit}
            for line in outcome.checks
        ],
    }


def _list(device: "Device", as_json: bool) -> None:
    from pamc_devices.store import Store

    survey = Store(device).survey()
    rows = [_row(survey, name, id, use) for name, id, use in _named(survey)]
    if as_json:
        print_json({"device": device.url, "free_bytes": survey.free_bytes, "deployments": rows})
        return
    for row in rows:
        sets = ", ".join(row["task_sets"]) or "damaged"
        click.echo(f"{row['name']}  {row['id'][:12]}  {row['use']}  {row['runtime']}  {row['bytes']:,} bytes  {sets}")
    if not rows:
        click.echo(f"{device.url}: nothing is deployed")


def _named(survey: "Survey") -> list[tuple[str, str, str]]:
    """Name, id and use of every deployment, those in use first."""
    named: list[tuple[str, str, str]] = []
    for name, pointer in sorted(survey.pointers.items()):
        named.append((name, pointer.current, "current"))
        if pointer.previous:
            named.append((name, pointer.previous, "previous"))
    rest = sorted(survey.deployments.keys() - survey.kept())
    return named + [(survey.deployments[id].name, id, "unused") for id in rest]


def _row(survey: "Survey", name: str, id: str, use: str) -> dict[str, Any]:
    held = survey.deployments.get(id)
    return {
        "name": name,
        "id": id,
        "use": use,
        "runtime": held.runtime if held else "-",
        "task_sets": list(held.task_sets) if held else [],
        "bytes": held.bytes if held else 0,
    }


def _roll_back(device: "Device", name: str, threads: int, as_json: bool) -> None:
    from pamc_devices.deploy import rollback
    from pamc_devices.lock import locked

    with locked(device, "pamc deploy --rollback"):
        found = rollback(device, name, threads=threads)
    if as_json:
        print_json({"device": device.url, "name": name, "id": found.deployment.id, "folder": found.folder})
        return
    click.echo(f"{name} on {device.url}: back to {', '.join(found.deployment.task_sets)}")
    click.echo(f"{found.folder}: the deployment")


def _remove(device: "Device", name: str | None, as_json: bool) -> None:
    from pamc_devices.deploy import prune, remove
    from pamc_devices.lock import locked

    with locked(device, "pamc deploy --remove" if name else "pamc deploy --prune"):
        gone = prune(device) if name is None else remove(device, name)
    if as_json:
        print_json({"device": device.url, "name": name, "removed": list(gone)})
        return
    folders = sum(path.startswith("deployments/") for path in gone)
    click.echo(f"{device.url}: removed {folders} deployments and {len(gone) - folders} files that nothing else needs")
