"""The reporter that `pamc build` uses: latency on this machine, and the pages of a bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pamc.bundle import Manifest
from pamc.bundle.manifest import Latency
from pamc.export import Session
from pamc.lower import Plan, describe
from pamc.progress import Progress
from pamc_bench.local import measure_sessions
from pamc_bench.markdown import render_markdown
from pamc_bench.report import render_html

__all__ = ["LocalReporter"]

PERCENT = 100


@dataclass(frozen=True, slots=True)
class LocalReporter:
    """Times with one thread for at most ``max_seconds`` in all; not at all when that is 0."""

    max_seconds: float = 5.0
    seed: int = 0

    def latency(
        self, variants: Mapping[str, Mapping[str, Sequence[Session]]], x: NDArray[np.generic], progress: Progress
    ) -> Latency | None:
        """Timings of one inference on ``x``, a batch of one, all variants interleaved."""
        if self.max_seconds <= 0:
            return None
        with progress.track(PERCENT, "timing") as bar:
            shown = 0

            def advance(fraction: float) -> None:
                nonlocal shown
                now = min(PERCENT, round(PERCENT * fraction))
                bar.advance(now - shown)
                shown = now

            return measure_sessions(variants, x, max_seconds=self.max_seconds, seed=self.seed, on_progress=advance)

    def pages(self, manifest: Manifest, plans: Mapping[str, Plan]) -> Mapping[str, str]:
        """report.html and report.md."""
        texts = {name: describe(plan) for name, plan in plans.items()}
        return {"report.html": render_html(manifest, texts), "report.md": render_markdown(manifest)}
