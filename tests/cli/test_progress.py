"""What progress looks like in a log and on a terminal."""

import io

from rich.console import Console

from pamc.cli.progress import PlainProgress, RichProgress
from pamc.progress import Progress, QuietProgress


class _Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def _work(progress: Progress, clock: _Clock) -> None:
    with progress.stage("merge", "pam [2 tasks]"), progress.track(100, "layers") as tracker:
        for _ in range(100):
            clock.now += 0.1
            tracker.advance(note="conv1")
    progress.note("kept [all]")


def test_plain_lines_are_rate_limited() -> None:
    stream, clock = io.StringIO(), _Clock()
    _work(PlainProgress(stream, interval=3.0, clock=clock), clock)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "merge: pam [2 tasks]"
    assert lines[-2:] == ["merge: done in 10.0 s", "kept [all]"]
    assert 2 <= len(lines) - 3 <= 3
    assert lines[1].startswith("  layers: 3") and lines[1].endswith("/100: conv1")
    assert "\x1b" not in stream.getvalue()


def test_rich_shows_text_in_brackets_as_it_is_and_closes_its_bars() -> None:
    stream = io.StringIO()
    progress = RichProgress(Console(file=stream, force_terminal=False, width=100))
    _work(progress, _Clock())
    assert "merge: pam [2 tasks]" in stream.getvalue()
    assert "kept [all]" in stream.getvalue()
    assert progress._bars is None


def test_nested_bars_share_the_display() -> None:
    progress = RichProgress(Console(file=io.StringIO(), force_terminal=True, width=100))
    with progress.track(2, "outer [a]") as outer:
        with progress.track(3, "inner") as inner:
            inner.advance(3)
        outer.advance(2, note="x")
    assert progress._bars is None


def test_quiet_says_nothing() -> None:
    _work(QuietProgress(), _Clock())
