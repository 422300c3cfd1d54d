"""`pamc report`."""

from pathlib import Path

import click

from pamc.cli.common import bundle_argument, json_option, output_options, print_json

__all__ = ["command"]


@click.command("report")
@bundle_argument
@click.argument("results", nargs=-1, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the report.  [default: BUNDLE-report]")
@json_option
@output_options
def command(bundle: Path, results: tuple[Path, ...], out: Path | None, as_json: bool) -> None:
    """Write report.html and report.md of BUNDLE with RESULTS, files of pamc bench --out that measured it.

    The page needs nothing else: it opens offline, in light and dark, on a phone.
    """
    from hashlib import sha256

    from pamc.bundle import MANIFEST, open_bundle

    opened = open_bundle(bundle)

    from pamc_bench.device_figures import check_results
    from pamc_bench.results import read_result

    digest = sha256(opened.file(MANIFEST).read_bytes()).hexdigest()
    found = check_results([(str(path), read_result(path)) for path in results], digest)

    from pamc.bundle.plans import plans_of
    from pamc.errors import OutputError
    from pamc.lower import describe
    from pamc_bench.report import render_html, render_markdown

    plans = {name: describe(plan) for name, plan in plans_of(opened).items()}
    pages = {
        "report.html": render_html(opened.manifest, plans, found, digest),
        "report.md": render_markdown(opened.manifest, found, digest),
    }
    folder = out or opened.path.with_name(f"{opened.path.name}-report")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in pages.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        cure = "name another folder with --out"
        raise OutputError(f"the report cannot be written: {error.strerror}", where=str(folder), cure=cure) from error
    paths = [str(folder / name) for name in pages]
    if as_json:
        print_json({"files": paths, "results": [str(path) for path in results]})
    else:
        click.echo("\n".join(paths))
