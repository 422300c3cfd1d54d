"""`pamc devices`."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from pamc.cli.common import json_option, output_options, print_json

if TYPE_CHECKING:
    from pamc_devices.doctor import Finding
    from pamc_devices.info import DeviceInfo

__all__ = ["command"]

_NEEDS_CHANGE = 5
_PIPE_WIDTH = 10_000

url_argument = click.argument("url", metavar="URL")


@click.group("devices", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Find, describe and check devices: local, ssh://[user@]host[:port], adb://SERIAL, emulated://rpi4."""


@command.command("list")
@json_option
@output_options
def list_command(as_json: bool) -> None:
    """Show the devices at hand. Hosts of the ssh configuration are named and not asked."""
    from pamc_devices.find import list_devices

    found = list_devices()
    if as_json:
        print_json([{"url": item.url, "state": item.state, "note": item.note} for item in found])
        return
    _table(("URL", "STATE", ""), [(item.url, item.state, item.note) for item in found])


@command.command("info")
@url_argument
@json_option
@output_options
def info_command(url: str, as_json: bool) -> None:
    """Show what the device at URL is and how it is now."""
    from pamc_devices.board_profiles import match_profile
    from pamc_devices.find import opened
    from pamc_devices.probe import probe

    with opened(url) as device:
        info = probe(device)
    profile = match_profile(info)
    if as_json:
        target = None if profile is None else profile.target(info.abi)
        print_json({**info.as_data(), "profile": profile and profile.name, "target": target})
        return
    rows = _rows(info)
    if profile is not None:
        rows += [
            ("profile", f"{profile.name}: {profile.description}"),
            (
                "build for it",
                f"--target {profile.target(info.abi)}, {profile.threads} threads on {profile.cores} cores",
            ),
        ]
    _table(None, rows)


@command.command("doctor")
@click.argument("url", metavar="[URL]", required=False)
@json_option
@output_options
@click.pass_context
def doctor_command(ctx: click.Context, url: str | None, as_json: bool) -> None:
    """Say what is wrong with the device at URL, or with this machine and all devices at hand, and the cure.

    Exit code 5 when something must be changed.
    """
    from pamc_devices.doctor import check_machine
    from pamc_devices.find import list_devices

    if url is not None:
        findings = {url: _examine(url)}
    else:
        findings = {"this machine": check_machine(), "local": _examine("local")}
        findings |= {item.url: _examine(item.url) for item in list_devices() if item.url.startswith("adb://")}
    if as_json:
        print_json(
            [
                {"device": place, "what": item.what, "cure": item.cure, "must": item.must}
                for place, items in findings.items()
                for item in items
            ]
        )
    else:
        for place, items in findings.items():
            _print_findings(place, items)
    if any(item.must for items in findings.values() for item in items):
        ctx.exit(_NEEDS_CHANGE)


def _examine(url: str) -> "tuple[Finding, ...]":
    from pamc.errors import DeviceError
    from pamc_devices.doctor import check_device, unreachable
    from pamc_devices.find import opened
    from pamc_devices.probe import probe

    try:
        with opened(url) as device:
            return check_device(probe(device))
    except DeviceError as error:
        return (unreachable(error),)


def _rows(info: "DeviceInfo") -> list[tuple[str, str]]:
    def megabytes(value: int | None) -> str:
        return "unknown" if value is None else f"{value:,} MiB".replace(",", " ")

    libc = " ".join(filter(None, (info.libc, info.libc_version)))
    speeds = [
        f"{len(cluster.cores)} x {cluster.part or 'unknown'}" + (f", {cluster.max_mhz} MHz" if cluster.max_mhz else "")
        for cluster in info.clusters
    ]
    disk = info.storage
    marks = [word for word, holds in (("read-only", disk.read_only), ("noexec", disk.noexec)) if holds]
    heat = [f"{name} {degrees:.0f} °C" for name, degrees in sorted(info.temperatures.items())]
    rows = [
        ("address", info.url + (" (emulated: its times mean nothing)" if info.emulated else "")),
        ("model", info.model),
        ("SoC", info.soc),
        ("system", ", ".join(filter(None, (info.system, info.kernel and f"kernel {info.kernel}")))),
        ("programs", ", ".join(filter(None, (info.abi, libc)))),
        ("cores", "; ".join(speeds)),
        ("governor", ", ".join(info.governors)),
        ("temperature", ", ".join(heat)),
        ("slowed down", ", ".join(info.throttled)),
        ("slowed before", ", ".join(info.throttled_before)),
        ("memory", f"{megabytes(info.free_memory_mib)} free of {megabytes(info.memory_mib)}"),
        ("load", None if info.load is None else f"{info.load:.2f}"),
        ("battery", _battery(info)),
        ("screen", None if info.screen_on is None else "on" if info.screen_on else "off"),
        ("folder", ", ".join([f"{disk.folder}: {megabytes(disk.free_mib)} free", *filter(None, [disk.kind]), *marks])),
        ("Python", info.python),
        ("packages", ", ".join(f"{name} {version}" for name, version in info.packages.items())),
    ]
    return [(name, value) for name, value in rows if value]


def _battery(info: "DeviceInfo") -> str | None:
    if info.battery is None:
        return None
    level = "" if info.battery.percent is None else f"{info.battery.percent} %, "
    return level + ("discharging" if info.battery.discharging else "charging or full")


def _print_findings(place: str, items: "Sequence[Finding]") -> None:
    if not items:
        click.echo(f"{_plain(place)}: nothing to change")
        return
    click.echo(f"{_plain(place)}:")
    for item in items:
        click.echo(f"  {'MUST' if item.must else 'may '}  {_plain(item.what)}\n        cure: {_plain(item.cure)}")


def _table(head: tuple[str, ...] | None, rows: Sequence[tuple[str, ...]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=head is not None, pad_edge=False)
    columns: list[Any] = list(head or ("", ""))
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        # As text: a device may call itself anything, also what rich takes for markup.
        table.add_row(*(Text(_plain(cell)) for cell in row))
    # Lines are broken to fit a terminal; whoever reads a pipe gets whole ones.
    Console(highlight=False, width=None if sys.stdout.isatty() else _PIPE_WIDTH).print(table)


def _plain(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)
