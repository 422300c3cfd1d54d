"""model.yaml: what is accepted, what it becomes, and how every mistake is reported."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from pamc.config import Spec, load_spec, overridden, schema
from pamc.config_checks import merge_methods, prune_methods
from pamc.config_schema import FileModel
from pamc.errors import ConfigError
from pamc.export import exporters
from pamc.registry import Registry
from pamc.spec import FOLD_BYTES, Budget, MethodSpec, PruneSpec, QuantizeSpec

GOOD = """\
name: kit
tasks:
  article: {model: "nets.py:lenet", args: {classes: 10}, weights: a.safetensors, metric: accuracy}
  tone: {model: "nets.py:lenet", weights: b.safetensors, metric: mae, max_drop: 0.1}
data: {train: "data.py:train", eval: "data.py:evaluate"}
"""

Load = Callable[[str], Spec]


@dataclass(frozen=True)
class _Options:
    groups: int = 4
    exponents: tuple[float, ...] = ()


def _methods(kind: str, name: str) -> Registry[Callable[..., None]]:
    registry: Registry[Callable[..., None]] = Registry(kind)
    registry.register(name, options=_Options, summary="for tests")(lambda: None)
    return registry


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Writes model.yaml into a folder with the files that GOOD names, and loads it."""
    monkeypatch.setattr("pamc.config.merge_methods", lambda: _methods("merge method", "pam"))
    monkeypatch.setattr("pamc.config.prune_methods", lambda: _methods("pruner", "taylor"))
    (tmp_path / "nets.py").write_text("def lenet(classes=10): ...\n")
    (tmp_path / "data.py").write_text("def train(): ...\ndef evaluate(): ...\n")
    for name in ("a", "b"):
        (tmp_path / f"{name}.safetensors").touch()

    def write_and_load(text: str) -> Spec:
        path = tmp_path / "model.yaml"
        path.write_text(text, encoding="utf-8")
        return load_spec(path)

    return write_and_load


def problems(load: Load, text: str, tmp_path: Path) -> list[str]:
    """Every problem's text, with the folder cut off."""
    with pytest.raises(ConfigError) as caught:
        load(text)
    return [str(problem).replace(f"{tmp_path}/", "") for problem in caught.value.problems]


def test_defaults_of_a_two_task_file(load: Load, tmp_path: Path) -> None:
    spec = load(GOOD)
    assert spec.task_names == ("article", "tone")
    assert spec.tasks[0].model.file == tmp_path / "nets.py"
    assert spec.tasks[0].args == {"classes": 10}
    assert [task.loss for task in spec.tasks] == ["cross_entropy", "mse"]
    assert [task.max_drop for task in spec.tasks] == [None, 0.1]
    assert spec.merge == MethodSpec("separate", {})
    assert spec.prune == PruneSpec("share", Budget(max_drop=1.0), {})
    assert spec.task_sets == ("article", "tone", "article+tone")
    assert dict(spec.workload) == dict.fromkeys(spec.task_sets, pytest.approx(1 / 3))
    assert (spec.emit, spec.quantize, spec.baseline, spec.seed) == (("onnx",), QuantizeSpec(), True, 0)
    assert spec.fold_bytes == FOLD_BYTES
    assert spec.input is None
    assert spec.root == tmp_path


def test_paths_are_relative_to_the_file_not_to_the_working_folder(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(GOOD)
    monkeypatch.chdir(tmp_path.parent)
    spec = load_spec(Path(tmp_path.name) / "model.yaml")
    assert spec.tasks[1].weights == tmp_path / "b.safetensors"
    assert spec.path == Path(tmp_path.name) / "model.yaml"


def test_task_sets_are_canonical_whatever_their_order(load: Load) -> None:
    spec = load(GOOD + "task_sets: [tone+article, tone]\nworkload: {tone + article: 0.25, article: 0.75}\n")
    assert spec.task_sets == ("tone", "article+tone")
    assert dict(spec.workload) == {"article": 0.75, "article+tone": 0.25}


@pytest.mark.parametrize(("tasks", "sets"), [(4, 15), (5, 6)])
def test_default_task_sets_are_all_up_to_four_tasks(load: Load, tasks: int, sets: int) -> None:
    extra = "".join(
        f'  t{i}: {{model: "nets.py:lenet", weights: a.safetensors, metric: mse}}\n' for i in range(tasks - 2)
    )
    spec = load(GOOD.replace("data:", extra + "data:"))
    assert len(spec.task_sets) == sets
    assert spec.task_sets[-1] == "+".join(spec.task_names)
    assert len(spec.workload) == 2**tasks - 1
    assert sum(spec.workload.values()) == pytest.approx(1)


def test_rounded_probabilities_are_scaled_to_one(load: Load) -> None:
    spec = load(GOOD + "workload: {article: 0.33, tone: 0.33, article+tone: 0.33}\n")
    assert sum(spec.workload.values()) == pytest.approx(1, abs=1e-12)


def test_everything_given(load: Load) -> None:
    spec = load(
        GOOD
        + "input: {shape: [1, 28, 28], dtype: uint8, normalize: {mean: [0.286], std: [1]}}\n"
        + "merge: {method: pam, options: {groups: 7, exponents: [1, 0.5]}}\n"
        + "prune: {method: taylor, budget: {macs: 0.4}}\n"
        + "train: {epochs: 3, batch_size: 64, learning_rate: 1e-3, distill: 0.5}\n"
    )
    assert spec.input is not None and spec.input.normalize is not None
    assert (spec.input.shape, spec.input.normalize.std) == ((1, 28, 28), (1.0,))
    assert spec.merge.options == {"groups": 7, "exponents": [1, 0.5]}
    assert spec.prune.budget == Budget(macs=0.4)
    assert spec.train.learning_rate == 1e-3


def test_budgets(load: Load) -> None:
    assert load(GOOD + "prune: {budget: {expected_macs: 0.4}}\n").prune.budget == Budget(expected_macs=0.4)
    shared = load(GOOD + "merge: {method: separate}\nprune: {method: share, budget: {max_drop: 2}}\n")
    assert (shared.prune.method, shared.prune.budget) == ("share", Budget(max_drop=2.0))


@pytest.mark.parametrize(
    ("given", "merge", "pruner"),
    [
        ("prune: {budget: {max_drop: 2}}", "separate", "share"),
        ("merge: {method: separate}", "separate", "share"),
        ("prune: {method: share}", "separate", "share"),
        ("prune: {budget: {macs: 0.4}}", "pam", "taylor"),
        ("prune: {budget: {expected_macs: 0.4}}", "pam", "taylor"),
        ("prune: {budget: {macs: null, max_drop: 2}}", "separate", "share"),
        ("merge: {method: separate}\nprune: {budget: {macs: 0.4}}", "separate", "taylor"),
        ("merge: {method: concat}", "concat", "taylor"),
        ("prune: {method: magnitude}", "pam", "magnitude"),
        ("merge: {method: separate}\nprune: {method: none}", "separate", "none"),
    ],
)
def test_what_is_not_given_goes_with_what_is(load: Load, given: str, merge: str, pruner: str) -> None:
    spec = load(f"{GOOD}{given}\n")
    assert (spec.merge.method, spec.prune.method) == (merge, pruner)


def test_options_without_a_method_are_those_of_the_default(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pamc.config.prune_methods", prune_methods)
    assert load(GOOD + "prune: {options: {race: false}}\n").prune.options == {"race": False}
    (found,) = problems(load, GOOD + "prune: {budget: {macs: 0.4}, options: {race: false}}\n", tmp_path)
    assert "pruner 'taylor' has no option 'race'" in found and "name the one you mean: prune: {method: ...}" in found
    (found,) = problems(load, GOOD + "merge: {options: {groups: 2}}\n", tmp_path)
    assert "unknown merge method 'separate'" in found


def test_no_pruning(load: Load) -> None:
    assert load(GOOD + "prune: {method: none}\n").prune.method == "none"


def _with(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)


BAD = {
    "unknown key": (GOOD + "seeds: 1\n", r"model.yaml:6:1: unknown key 'seeds', did you mean 'seed'\?"),
    "unknown nested key": (GOOD + "train: {epoch: 1}\n", r"6:9: unknown key 'epoch' in train, did you mean 'epochs'\?"),
    "unknown deep key": (
        GOOD + "prune: {budget: {mac: 1}}\n",
        r"6:18: unknown key 'mac' in prune.budget, did you mean 'macs'\?",
    ),
    "duplicate key": (GOOD + "name: again\n", r"6:1: duplicate key 'name', already given in line 1"),
    "duplicate task": (_with("  tone:", "  article:"), r"4:3: duplicate key 'article'"),
    "missing key": (
        _with("name: kit\n", ""),
        r"model.yaml:1:1: the key 'name' is missing\n  cure: name: what the bundle is called$",
    ),
    "missing key of a task": (_with(", metric: mae", ""), r"4:3: the key 'metric' is missing in tasks.tone"),
    "its cure": (_with(", metric: mae", ""), r"4:3: the key.*\n  cure: metric: one of accuracy, mae, mse"),
    "cure of a missing nested key": (
        GOOD + "input: {shape: [1], normalize: {std: [1]}}\n",
        r"6:21: the key 'mean' is missing in input.normalize\n  cure: mean: one number per channel",
    ),
    "misspelt required key": (_with("data:", "dat:"), r"5:1: unknown key 'dat', did you mean 'data'\?"),
    "wrong type": (GOOD + "seed: [1]\n", r"6:7: seed must be a whole number, not \[1\]"),
    "yes is text": (GOOD + "baseline: yes\n", r"6:11: baseline must be true or false, not 'yes'"),
    "number for a truth value": (GOOD + "baseline: 1\n", r"6:11: baseline must be true or false, not 1"),
    "negative bytes": (GOOD + "fold_bytes: -1\n", r"6:13: fold_bytes must be at least 0, not -1"),
    "empty section": (GOOD + "merge:\n", r"6:\d+: merge must be a mapping, not nothing"),
    "negative": (_with("max_drop: 0.1", "max_drop: -1"), r"max_drop must be at least 0, not -1"),
    "not finite": (_with("max_drop: 0.1", "max_drop: .nan"), r"4:81: .nan is not a finite number"),
    "newer version": ("schema_version: 2\n" + GOOD, r"1:17: schema_version must be 1, not 2"),
    "one task": ("\n".join(line for line in GOOD.splitlines() if "tone" not in line), r"2 to 16 tasks, and here are 1"),
    "task name": (_with("  tone:", "  9 tone:"), r"4:3: a task cannot be called '9 tone'"),
    "task called all": (_with("  tone:", "  all:"), r"4:3: a task cannot be called 'all'"),
    "case twins": (_with("  tone:", "  Article:"), r"'article' and 'Article' differ only in case"),
    "metric": (_with("metric: accuracy", "metric: acuracy"), r"3:90: .* not 'acuracy', did you mean 'accuracy'\?"),
    "loss": (_with("metric: mae", "metric: mae, loss: binary"), r"loss 'binary' does not go with metric 'mae'"),
    "missing weights": (_with("a.safetensors", "aa.safetensors"), r"no file aa.safetensors .*did you mean 'a.safet"),
    "pickled weights": (_with("a.safetensors", "a.pt"), r"a.pt is a pickle(.|\n)*save_file(.|\n)* a.pt a.safetensors"),
    "other weights": (_with("a.safetensors", "a.npz"), r"must be a .safetensors file, not 'a.npz'"),
    "missing code": (_with('"data.py:train"', '"dat.py:train"'), r"no file dat.py .*did you mean 'data.py'"),
    "missing function": (_with("py:evaluate", "py:evaluat"), r"data.py defines no 'evaluat', did you mean 'evaluate'"),
    "reference": (_with('"data.py:train"', "data"), r'data.train must be written "file.py:function", not \'data\''),
    "merge method": (GOOD + "merge: {method: pan}\n", r"6:17: unknown merge method 'pan', did you mean 'pam'\?"),
    "merge option": (
        GOOD + "merge: {method: pam, options: {group: 2}}\n",
        r"6:32: merge method 'pam' has no option 'group', did you mean 'groups'\?",
    ),
    "merge option type": (
        GOOD + "merge: {method: pam, options: {groups: many}}\n",
        r"6:40: option 'groups' of merge method 'pam': must be",
    ),
    "pruner": (GOOD + "prune: {method: tailor}\n", r"unknown pruner 'tailor', did you mean 'taylor'\?"),
    "two budgets": (
        GOOD + "prune: {budget: {macs: 0.4, max_drop: 1}}\n",
        r"exactly one of max_drop, macs and expected_macs",
    ),
    "no budget": (GOOD + "prune: {budget: {}}\n", r"exactly one of max_drop, macs and expected_macs"),
    "budget without pruner": (
        GOOD + "prune: {method: none, budget: {macs: 0.4}}\n",
        r"a budget of MACs has no meaning with method none",
    ),
    "two budgets of MACs": (
        GOOD + "prune: {budget: {macs: 0.4, expected_macs: 0.4}}\n",
        r"6:17: prune.budget must hold exactly one of max_drop, macs and expected_macs",
    ),
    "expected MACs without pruner": (
        GOOD + "prune: {method: none, budget: {expected_macs: 0.4}}\n",
        r"a budget of MACs has no meaning with method none",
    ),
    "share to a cost": (
        GOOD + "merge: {method: separate}\nprune: {method: share, budget: {expected_macs: 0.4}}\n",
        r"7:24: pruner 'share' works to an accuracy budget",
    ),
    "share after sharing": (
        GOOD + "merge: {method: pam}\nprune: {method: share}\n",
        r"7:17: pruner 'share' merges by itself, and cannot start from merge method 'pam'(.|\n)*method: separate",
    ),
    "effort": (GOOD + "prune: {effort: quik}\n", r"6:17: prune.effort must be .*, did you mean 'quick'\?"),
    "exporter": (GOOD + "emit: [onx]\n", r"6:8: unknown export format 'onx', did you mean 'onnx'\?"),
    "exporter twice": (GOOD + "emit: [onnx, onnx]\n", r"6:14: export format 'onnx' is given twice"),
    "quantize": (GOOD + "quantize: int9\n", r"6:11: quantize must be .*, not 'int9', did you mean 'int8'\?"),
    "quantize type": (GOOD + "quantize: [int8]\n", r"6:11: quantize must be a mapping, not \['int8'\]"),
    "quantize key": (
        GOOD + "quantize: {kind: int8, sample: 9}\n",
        r"6:24: unknown key 'sample' in quantize, did you mean 'samples'\?",
    ),
    "quantize reserve": (GOOD + "quantize: {kind: int8, reserve: 1}\n", r"6:33: quantize.reserve must be less than 1"),
    "format options": (GOOD + "onnx: {singel: true}\n", r"6:8: format 'onnx' has no option 'singel', .* 'single'\?"),
    "format option type": (GOOD + "onnx: {single: 1}\n", r"6:8: option 'single' of format 'onnx': .* boolean"),
    "format options type": (GOOD + "onnx: [single]\n", r"6:7: options of format 'onnx' must be a mapping"),
    "format not emitted": (
        GOOD + "emit: [tflite]\nonnx: {single: true}\n",
        r"7:1: options for format 'onnx', which is not emitted\n  cure: add onnx to emit",
    ),
    "format misspelt": (GOOD + "onxx: {single: true}\n", r"6:1: unknown key 'onxx', did you mean 'onnx'\?"),
    "task in a set": (GOOD + "task_sets: [article+ton]\n", r"6:13: unknown task 'ton', did you mean 'tone'\?"),
    "set twice": (GOOD + "task_sets: [tone+article, article+tone]\n", r"6:27: task set article\+tone is given twice"),
    "task twice": (GOOD + "task_sets: [tone+tone]\n", r"6:13: task 'tone' appears twice in 'tone\+tone'"),
    "half a set": (GOOD + "task_sets: [tone+]\n", r"6:13: 'tone\+' is not a task set"),
    "workload sum": (GOOD + "workload: {tone: 0.5}\n", r"6:1: the probabilities of the workload sum to 0.5, not to 1"),
    "workload value": (GOOD + "workload: {tone: 2}\n", r"6:18: the probability of tone must be a number from 0 to 1"),
    "workload twice": (GOOD + "workload: {tone+article: 0.5, article+tone: 0.5}\n", r"6:31: .* is given twice"),
    "workload word": (GOOD + "workload: even\n", r"6:11: workload must be uniform, or a mapping"),
    "shape": (GOOD + "input: {shape: [1, 1, 28, 28]}\n", r"6:16: input.shape must be \[channels(.|\n)*leave the batch"),
    "channels": (
        GOOD + "input: {shape: [3, 8, 8], normalize: {mean: [0, 0], std: [1, 1, 1]}}\n",
        r"6:45: input.normalize.mean has 2 entries for 3 channels",
    ),
    "zero deviation": (
        GOOD + "input: {shape: [1, 8, 8], normalize: {mean: [0], std: [0]}}\n",
        r"6:56: input.normalize.std\[0\] must be greater than 0, not 0",
    ),
    "date": (GOOD + "seed: 2001-01-01\n", r"6:7: a value of kind 'timestamp' is not allowed here"),
    "tag": (_with("name: kit", "name: !!python/name:os.system kit"), r"1:7: a value of kind 'python/name:os.system'"),
    "key that is not text": (_with("classes: 10", "1: 10"), r"3:44: the key '1' is not text; put it in quotes"),
}


@pytest.mark.parametrize(("text", "message"), BAD.values(), ids=BAD)
def test_one_mistake_gives_one_message_with_its_place(load: Load, tmp_path: Path, text: str, message: str) -> None:
    found = problems(load, text, tmp_path)
    assert len(found) == 1, found
    assert re.search(message, found[0]), found[0]
    assert re.match(r"model\.yaml:\d+:\d+: ", found[0])


FATAL = {
    "not YAML": ("name: [", r"model.yaml:\d+:\d+: not valid YAML"),
    "empty": ("# nothing\n", "the file is empty"),
    "a list": ("- 1\n", "must hold keys and values"),
    "two documents": ("a: 1\n---\nb: 1\n", "expected a single document"),
    "alias": ("a: &x 1\nb: *x\n", r"model.yaml:2:4: aliases \(\*x\) are not allowed"),
    "deep": ("a: " + "[" * 40 + "]" * 40, "nested more than 32 levels"),
    "many": ("a: [" + "1, " * 10_001 + "]", "more than 10000 values"),
    "large": ("# " + "x" * 1_000_001, "larger than 1000000 bytes"),
    "control character": ("a: \x01", "not valid YAML"),
}


@pytest.mark.parametrize(("text", "message"), FATAL.values(), ids=FATAL)
def test_a_file_that_cannot_be_read_gives_one_message(load: Load, tmp_path: Path, text: str, message: str) -> None:
    (found,) = problems(load, text, tmp_path)
    assert re.search(message, found), found


def test_bytes_that_are_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "model.yaml"
    path.write_bytes(b"name: kit\nx: \xff\n")
    with pytest.raises(ConfigError, match=r"model.yaml:2: is not UTF-8"):
        load_spec(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load_spec(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="is a folder"):
        load_spec(tmp_path)


def test_all_mistakes_at_once_in_the_order_of_the_file(load: Load, tmp_path: Path) -> None:
    text = (
        "name: 9kit\n"
        "tasks:\n"
        '  article: {model: "nets.py:lenett", weights: old.pt, metric: acuracy}\n'
        '  tone: {model: "net.py:lenet", weight: b.safetensors, metric: mae, loss: binary}\n'
        'data: {train: "data.py:trai", evall: "data.py:evaluate"}\n'
        "merge: {method: pann, options: 3}\n"
        "prune: {method: tailor, budget: {macs: 2}}\n"
        "task_sets: [article+tune]\n"
        "emit: [onx]\n"
        "sead: 1\n"
    )
    lines = [int(found.split(":")[1]) for found in problems(load, text, tmp_path)]
    assert lines == [1, 3, 3, 3, 4, 4, 4, 5, 5, 6, 6, 7, 7, 8, 9, 10]


def test_user_code_is_not_run_by_reading_a_file(load: Load, tmp_path: Path) -> None:
    load(GOOD)
    (tmp_path / "nets.py").write_text("raise SystemExit('was run')\ndef lenet(): ...\n")
    assert load_spec(tmp_path / "model.yaml").name == "kit"


def test_user_code_with_a_syntax_error_is_named(load: Load, tmp_path: Path) -> None:
    load(GOOD)
    (tmp_path / "data.py").write_text("x = 1\ndef train(:\n")
    with pytest.raises(ConfigError, match=r"data.py:2 is not valid Python"):
        load_spec(tmp_path / "model.yaml")


@pytest.mark.parametrize(
    "code",
    ["from elsewhere import lenet", "lenet = object()", "from elsewhere import *", "if True:\n    class lenet: ..."],
)
def test_a_function_may_be_defined_in_any_way(load: Load, tmp_path: Path, code: str) -> None:
    load(GOOD)
    (tmp_path / "nets.py").write_text(code + "\n")
    assert load_spec(tmp_path / "model.yaml").tasks[0].model.function == "lenet"


def test_without_any_exporter_the_cure_is_named(load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pamc.config_checks.exporters", lambda: ())
    (found,) = problems(load, GOOD, tmp_path)
    assert "no exporters are installed" in found and "pip install" in found


def test_the_default_methods_exist() -> None:
    assert MethodSpec().method in merge_methods().names()
    assert PruneSpec().method in prune_methods().names()


def test_schema_knows_every_key_method_and_exporter() -> None:
    result = json.loads(json.dumps(schema()))
    assert set(result["properties"]) == {*FileModel.model_fields, *exporters()}
    assert set(result["required"]) == {"name", "tasks", "data"}
    assert result["additionalProperties"] is False
    merge, prune = (result["$defs"][name]["properties"]["method"] for name in ("MergeModel", "PruneModel"))
    assert "pam" in merge["enum"] and {"taylor", "none"} <= set(prune["enum"])
    assert (merge["default"], prune["default"]) == (MethodSpec().method, PruneSpec().method)
    assert "onnx" in result["properties"]["emit"]["items"]["enum"]


def test_quantisation_is_a_word_or_a_mapping(load: Load) -> None:
    assert load(GOOD + "quantize: fp16\n").quantize == QuantizeSpec("fp16")
    given = load(GOOD + "quantize: {kind: int8, samples: 64, reserve: 0}\n").quantize
    assert given == QuantizeSpec("int8", 64, 0.0)


def test_the_command_line_goes_before_the_file(load: Load) -> None:
    spec = load(GOOD + "prune: {effort: quick}\nquantize: fp16\n")
    assert overridden(spec, None, None, None) == spec and spec.prune.effort == "quick"
    other = overridden(spec, "none", ("tflite", "tflite"), "thorough")
    assert (other.quantize.kind, other.emit, other.prune.effort) == ("none", ("tflite",), "thorough")


def test_options_of_formats_are_kept_as_written_and_stand_in_the_schema(load: Load) -> None:
    spec = load(GOOD + "emit: [onnx]\nonnx: {single: true}\n")
    assert spec.format_options == {"onnx": {"single": True}}
    options = schema()["properties"]["onnx"]
    assert options["properties"]["single"]["default"] is False and options["additionalProperties"] is False
