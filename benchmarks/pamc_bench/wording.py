"""Numbers and findings in words, the same in every form of the report."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass

from pamc.bundle.manifest import Manifest, Method
from pamc_bench.figures import LATENCY_NOISE, Change, Measure, Score, expected_macs, measures, scores, task_sets, totals

__all__ = [
    "ALONE",
    "Scale",
    "change_text",
    "command",
    "count_text",
    "drop_text",
    "drop_word",
    "duration",
    "marks_legend",
    "method_text",
    "metric_text",
    "scale_for",
    "score_text",
    "summary",
    "totals_text",
    "workload_text",
]

MINUS = "\N{MINUS SIGN}"
ALONE = {"pruned_separately": "the networks pruned one by one", "separate": "the networks as they are"}
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
MARKS = {"more": "▲", "less": "▼", "about": "≈"}
LISTED = 4  # more task sets than these make a sentence unreadable
STEPS = ((1e9, "billions", "G"), (1e6, "millions", "M"), (1e3, "thousands", "k"), (1.0, "", ""))


@dataclass(frozen=True, slots=True)
class Scale:
    """A common unit for the numbers of one table column group."""

    divisor: float
    decimals: int
    unit: str

    def text(self, value: float) -> str:
        return f"{value / self.divisor:,.{self.decimals}f}"


def _decimals(smallest: float) -> int:
    return 0 if smallest >= 100 else 1 if smallest >= 10 else 2 if smallest >= 1 else 3


def scale_for(kind: str, values: Iterable[float]) -> Scale:
    """The unit in which the smallest of ``values`` has about three digits; ``kind`` is count, bytes or latency."""
    positive = [value for value in values if value > 0]
    smallest = min(positive, default=1.0)
    if kind == "latency":
        return Scale(1.0, _decimals(smallest), "ms")
    divisor, word, letter = next((step for step in STEPS if smallest >= step[0]), STEPS[-1])
    decimals = _decimals(smallest / divisor) if divisor > 1 else 0
    return Scale(divisor, decimals, f"{letter}B" if kind == "bytes" else word)


def count_text(value: float) -> str:
    """A count with three digits, such as ``1.25 M``."""
    for divisor, _, letter in STEPS[:-1]:
        if value >= 0.9995 * divisor:  # what three digits would round up to the next unit
            return f"{value / divisor:.3g} {letter}"
    return f"{value:.0f}"


def _percent(fraction: float) -> str:
    size = abs(100 * fraction)
    text = f"{size:.0f}" if size >= 9.95 else f"{size:.1f}" if size >= 0.05 else "<0.1"
    return f"{'+' if fraction > 0 else MINUS}{text} %"


def change_text(change: Change | None) -> str:
    """``▲ +12 %``, ``▼ -35 %``, ``≈ +2 %`` within noise, ``= same``, or a dash where there is nothing to compare."""
    if change is None:
        return "–"
    if change.kind == "same":
        return "= same"
    return f"{MARKS[change.kind]} {_percent(change.fraction)}"


def marks_legend(found: Iterable[Measure]) -> str:
    """What the marks of :func:`change_text` mean in the tables of these measures."""
    compared = {measure.key: measure.against for measure in found if measure.against is not None}
    if not compared:
        return ""
    text = f"▲ the bundle costs more, ▼ less, than {ALONE[next(iter(compared.values()))]}."
    if "latency" in compared:
        text += f" ≈ less than {100 * LATENCY_NOISE:.0f} % apart in time, as the same network measured twice may be."
    return text


def score_text(metric: str, value: float) -> str:
    """Percent with two decimals, an error with four digits."""
    return f"{value:.2f}" if metric == "accuracy" else f"{value:.4g}"


def drop_text(metric: str, value: float) -> str:
    """A drop; negative where the score got better."""
    text = f"{abs(value):.2f}" if metric == "accuracy" else f"{abs(value):.3g}"
    return text if value >= 0 or float(text) == 0 else MINUS + text


def drop_word(metric: str) -> str:
    """An accuracy drops, an error rises."""
    return "drop" if metric == "accuracy" else "rise"


def metric_text(metric: str) -> str:
    """The metric with its unit."""
    return "accuracy, %" if metric == "accuracy" else metric


def method_text(method: Method) -> str:
    """A method with its options and its budget."""
    options = ", ".join(f"{key} {value}" for key, value in method.options.items())
    budget = ", ".join(f"{key} {value:g}" for key, value in (method.budget or {}).items())
    return method.method + (f" ({options})" if options else "") + (f", budget {budget}" if budget else "")


def duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds / 60:.1f} min"


def _number(count: int) -> str:
    return NUMBERS[count] if count < len(NUMBERS) else str(count)


def _largest(manifest: Manifest) -> tuple[str, str, str]:
    """The task set with the most tasks, its name in a sentence, and its networks."""
    name = task_sets(manifest)[-1]
    count = len(name.split("+"))
    if count == 1:
        return name, f"{name} alone", "the network as it is"
    if count == len(manifest.tasks):
        return name, f"All {_number(count)} tasks together", f"the {_number(count)} networks as they are"
    return name, f"{name} together", f"the {_number(count)} networks as they are"


def _cost_sentence(manifest: Manifest) -> str:
    macs = measures(manifest)[0]
    name, subject, networks = _largest(manifest)
    row = macs.rows[name]
    parts = [f"{subject}: {count_text(row['bundle'])} MACs"]
    if row.get("separate"):
        parts.append(f"{100 * row['bundle'] / row['separate']:.0f} % of {networks}")
    if row.get("pruned_separately"):
        same = "the same network pruned alone" if "+" not in name else "the same networks pruned one by one"
        parts.append(f"{100 * row['bundle'] / row['pruned_separately']:.0f} % of {same}")
    return ", ".join(parts) + "."


def _latency_sentence(manifest: Manifest) -> str | None:
    latency = next((measure for measure in measures(manifest) if measure.key == "latency"), None)
    name = task_sets(manifest)[-1]
    row = {} if latency is None else latency.rows.get(name, {})
    if latency is None or "bundle" not in row or len(row) == 1:
        return None
    scale = scale_for("latency", latency.values)
    words = {"separate": "as they are", "pruned_separately": "pruned one by one"}
    subject, networks = "They take", "the networks"
    if "+" not in name:
        words = {"separate": "as it is", "pruned_separately": "pruned alone"}
        subject, networks = "It takes", "the network"
    others = " and ".join(f"{scale.text(row[variant])} ms {words[variant]}" for variant in words if variant in row)
    return f"{subject} {scale.text(row['bundle'])} ms on the machine of the build; {networks} {others}."


def _drop_sentences(manifest: Manifest) -> list[str]:
    found: dict[str, list[Score]] = {}
    for name in task_sets(manifest):
        for score in scores(manifest, name):
            found.setdefault(score.task.metric, []).append(score)
    sentences = []
    for metric, items in found.items():
        worst = max(items, key=lambda score: score.drop)
        if worst.drop <= 0:
            sentences.append("No accuracy is lost." if metric == "accuracy" else f"No {metric} rises.")
            continue
        unit = " points" if metric == "accuracy" else ""
        budget = worst.task.max_drop
        limit = "" if budget is None else f"; budget {drop_text(metric, budget)}"
        sentence = (
            f"Worst {metric} {drop_word(metric)} {drop_text(metric, worst.drop)}{unit} ({worst.task.name}{limit})"
        )
        over = sorted({score.task.name for score in items if score.over_budget}, key=manifest.task_names.index)
        sentences.append(f"{sentence}{': over budget for ' + ', '.join(over) if over else ''}.")
    return sentences


def _costlier_sentence(manifest: Manifest) -> str | None:
    macs = measures(manifest)[0]
    changes = {name: found for name in macs.rows if (found := macs.change(name)) is not None}
    if not changes or macs.against is None:
        return None
    more = {name: found.fraction for name, found in changes.items() if found.kind == "more"}
    other = ALONE[macs.against]
    if not more:
        return f"No task set takes more MACs than {other}."
    which = ", ".join(f"{name} ({_percent(fraction)})" for name, fraction in more.items())
    if len(more) > LISTED:
        worst = max(more, key=lambda name: more[name])
        which = f"at most {_percent(more[worst])}, {worst}"
    return f"{len(more)} of {len(changes)} task sets take more MACs than {other}: {which}."


def summary(manifest: Manifest) -> str:
    """The key numbers in one paragraph."""
    expected = expected_macs(manifest)
    sentences = [_cost_sentence(manifest), _latency_sentence(manifest), _costlier_sentence(manifest)]
    if expected is not None and expected.change is not None and len(manifest.task_sets) > 1:
        over = f"Over the workload {count_text(expected.by_variant['bundle'])} MACs are expected per request"
        sentences.append(f"{over}, {_percent(expected.change.fraction)} against {ALONE[expected.change.against]}.")
    return " ".join([*filter(None, sentences), *_drop_sentences(manifest)])


def workload_text(manifest: Manifest) -> str:
    """The workload in words, with a remark when some of it has no known cost."""
    shares = {name: share for name, share in manifest.workload.items() if share > 0}
    if shares and len(set(shares.values())) == 1:
        text = f"uniform over {len(shares)} task set{'s' if len(shares) != 1 else ''}"
    else:
        text = ", ".join(f"{name} {100 * share:.3g} %" for name, share in shares.items())
    expected = expected_macs(manifest)
    if expected is not None and expected.coverage < 1 - 1e-9:
        text += f" ({100 * expected.coverage:.3g} % of it in the task sets listed)"
    return text


def totals_text(manifest: Manifest) -> str:
    """How large the files of each format are against the weights of the network of all tasks."""
    parts = [
        f"{name} {size.bytes:,} bytes, {size.bytes / size.weights:.2f} times the weights of all tasks"
        for name, size in totals(manifest).items()
    ]
    return f"All files: {'; '.join(parts)}." if parts else ""


def command(manifest: Manifest) -> str:
    """The command that builds the bundle again."""
    emitted = dict.fromkeys(name for entry in manifest.task_sets.values() for name in entry.bytes)
    config = next((path for path in manifest.sources if path.endswith((".yaml", ".yml"))), "model.yaml")
    kind = {"float16": ["--quantize", "fp16"], "int8": ["--quantize", "int8"]}.get(manifest.numerics.method, [])
    return shlex.join(["pamc", "build", config, "--target", manifest.target, *kind, "--emit", ",".join(emitted)])
