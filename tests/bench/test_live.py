"""What a measurement shows while it runs."""

from io import StringIO

from rich.console import Console

from pamc_bench.live import SHOWN, LineWatcher, LiveWatcher, SilentWatcher
from pamc_bench.results import Key, Protocol
from tests.bench.results import block

KEYS = tuple(Key("ssh://pi@board", "digits", name, "onnxruntime", 1, None) for name in ("digit", "stroke"))


def test_lines_come_now_and_then_without_control_characters() -> None:
    stream, now = StringIO(), 0.0
    watcher = LineWatcher(stream, interval=5.0, clock=lambda: now)
    watcher.plan("ssh://pi@board", KEYS, Protocol(blocks=2), False)
    for round in range(3):
        for key in KEYS:
            now += 2.0
            watcher.block(key, block(round, 1e6))
    watcher.note("ends\x1b[2J here")
    assert stream.getvalue().splitlines() == [
        "ssh://pi@board: 2 variants, 2 blocks each",
        "  ssh://pi@board: 3 of 4 blocks",
        "  ssh://pi@board: 6 of at least 6 blocks",
        "ends?[2J here",
    ]


def live(emulated: bool, count: int = 2) -> str:
    stream = StringIO()
    console = Console(file=stream, force_terminal=True, width=150, color_system=None)
    keys = tuple(Key("board", "digits", f"task{n}", "onnxruntime", 1, None) for n in range(count))
    with LiveWatcher(console).shown() as watcher:
        watcher.plan("board", keys, Protocol(), emulated)
        watcher.block(keys[0], block(0, 250_000))
        watcher.note("a note")
        watcher._live.refresh()
    return stream.getvalue()


def test_the_live_table_grows_and_goes_away() -> None:
    text = live(emulated=False)
    assert "digits: task0, onnxruntime, 1 thread" in text and "1/5" in text and "0.2500" in text and "a note" in text
    # The table is erased at the end: the cursor goes up again.
    assert "\x1b[1A" in text


def test_the_live_table_shows_no_time_of_an_emulator() -> None:
    text = live(emulated=True)
    assert "emulated" in text and "0.2500" not in text


def test_many_variants_are_cut() -> None:
    assert f"and {4} more" in live(emulated=False, count=SHOWN + 4)


def test_the_silent_one_is_silent() -> None:
    watcher = SilentWatcher()
    watcher.plan("board", KEYS, Protocol(), False)
    watcher.block(KEYS[0], block(0, 1e6))
    watcher.note("nothing")
