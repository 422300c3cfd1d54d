"""What a user may do wrong: a message with the place and a cure, the documented exit code, and nothing written."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save_file

from pamc.config_checks import merge_methods, prune_methods
from pamc.registry import method_names
from tests.builds.project import QUICK, Net, Project, Run, make_project, trained

Change = Callable[[Project], object]
TWO = (Net("digit"), Net("parity"))
TWO_DATA = '{train: "data.py:train_without_big", eval: "data.py:evaluate_without_big"}'
INPUT = "{shape: [1, 8, 8]}"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path / "kit", TWO, data=TWO_DATA, input=INPUT)


def fails(project: Project, code: int, *fragments: str, args: tuple[str | Path, ...] = ("build", "model.yaml")) -> Run:
    """The command ends with the code, its message holds the fragments, and the project is as it was."""
    before = project.files()
    run = project.pamc(*args)
    assert run.code == code, run.err
    assert "Traceback" not in run.err
    for fragment in fragments:
        assert fragment in run.err, f"{fragment!r} is not in:\n{run.err}"
    assert run.out == ""
    assert project.files() == before
    return run


def edit(old: str, new: str, name: str = "model.yaml") -> Change:
    return lambda project: project.replace(name, old, new)


def append(text: str, name: str = "model.yaml") -> Change:
    def change(project: Project) -> None:
        with (project.root / name).open("a") as file:
            file.write(text)

    return change


def line_of(project: Project, name: str, text: str) -> str:
    lines = (project.root / name).read_text().splitlines()
    return f"{name}:{next(number for number, line in enumerate(lines, 1) if text in line)}"


CONFIG: dict[str, tuple[Change, tuple[str, ...]]] = {
    "unknown key": (append("colour: red\n"), ("model.yaml:19:1: unknown key 'colour'", "cure: known keys: ")),
    "misspelt key": (edit("merge:", "merg:"), ("model.yaml:4:1: unknown key 'merg', did you mean 'merge'?",)),
    "duplicate key": (append("name: again\n"), ("model.yaml:19:1: duplicate key 'name', already given in line 2",)),
    "wrong type": (edit("baseline: false", "baseline: 7"), ("model.yaml:7:11: baseline must be true or false, not 7",)),
    "missing weights": (
        lambda project: (project.root / "digit.safetensors").rename(project.root / "digits.safetensors"),
        ("model.yaml:12:14: there is no file digit.safetensors", "did you mean 'digits.safetensors'?"),
    ),
    "missing function": (
        edit("nets.py:conv_net", "nets.py:conv_nets"),
        ("model.yaml:10:12: nets.py defines no 'conv_nets', did you mean 'conv_net'?",),
    ),
    "broken code": (append("def half(:\n", "data.py"), ("model.yaml:3:", "is not valid Python", "data.py:")),
    "pickled weights": (
        edit("digit.safetensors", "digit.pt"),
        ("model.yaml:12:14: digit.pt is a pickle", "why: opening a pickle can run any code", "cure: ", "save_file"),
    ),
    "unknown task": (append("workload: {odd: 1.0}\n"), ("model.yaml:19:12: unknown task 'odd'", "digit, parity")),
    "not yaml": (append("merge: {method\n"), ("model.yaml:", "cure")),
    "no file": (lambda project: (project.root / "model.yaml").unlink(), ("model.yaml: there is no such file", "cure")),
}


@pytest.fixture
def plain(tmp_path: Path) -> Project:
    """A project whose model.yaml gives no options to its methods."""
    return make_project(tmp_path / "kit", TWO, merge="{method: pam}", prune="{method: taylor, budget: {macs: 0.6}}")


@pytest.mark.parametrize(("change", "fragments"), CONFIG.values(), ids=CONFIG)
def test_model_yaml(plain: Project, change: Change, fragments: tuple[str, ...]) -> None:
    change(plain)
    run = fails(plain, 2, *fragments)
    # The import of torch alone takes longer; processor time, since other tests run beside this one.
    assert run.cpu_seconds < 1.5


def test_the_methods_accepted_by_name_alone_exist_and_need_no_options() -> None:
    for section, registry in (("merge", merge_methods()), ("prune", prune_methods())):
        assert set(method_names(section)) == set(registry.names())
        for name in registry.names():
            assert registry.check_options(name, {}) == []


def test_everything_wrong_in_model_yaml_is_said_at_once(plain: Project) -> None:
    for change, _ in (CONFIG["unknown key"], CONFIG["wrong type"], CONFIG["missing function"]):
        change(plain)
    run = fails(plain, 2, "colour", "baseline", "conv_nets")
    lines = [int(line.split(":")[1]) for line in run.err.splitlines() if line.startswith("model.yaml:")]
    assert lines == sorted(lines) and len(lines) >= 3


def weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Change:
    def apply(project: Project) -> None:
        state = load_tensors(trained(Net("digit")))
        change(state)
        save_file(state, project.root / "digit.safetensors")

    return apply


def pickled(project: Project) -> None:
    torch.save(load_tensors(trained(Net("digit"))), project.root / "digit.safetensors")


WEIGHTS: dict[str, tuple[Change, tuple[str, ...]]] = {
    "renamed pickle": (pickled, ("digit.safetensors", "pickle", "cure: ", "save_file")),
    "nan": (
        weights(lambda state: state["head.bias"].fill_(torch.nan)),
        ("digit.safetensors", "head.bias holds NaN", "cure"),
    ),
    "wrong shapes": (
        edit("width: 8", "width: 7"),
        ("digit.safetensors", "conv1.weight is 8x1x3x3, the network wants 7x1x3x3", "with the same args"),
    ),
    "cut off": (
        lambda project: (project.root / "digit.safetensors").write_bytes(trained(Net("digit"))[:-100]),
        ("digit.safetensors", "the file is damaged", "not fully covered", "cure"),
    ),
}


@pytest.mark.parametrize(("change", "fragments"), WEIGHTS.values(), ids=WEIGHTS)
def test_weights(project: Project, change: Change, fragments: tuple[str, ...]) -> None:
    change(project)
    fails(project, 2, *fragments)


RAISING = "\n\ndef raising(classes: int, width: int) -> nn.Module:\n    raise LookupError('no such size')\n"
COLOUR = "\n\ndef colour(classes: int, width: int) -> nn.Module:\n    return nn.Sequential(nn.Conv2d(3, classes, 8))\n"
MISH = (
    "\n\nclass Mish(ConvNet):\n    def forward(self, x: Tensor) -> Tensor:\n        return F.mish(super().forward(x))\n"
)


def network(text: str, function: str) -> Change:
    """The second task's function becomes another one."""

    def change(project: Project) -> None:
        append(text, "nets.py")(project)
        yaml = project.root / "model.yaml"
        head, _, tail = yaml.read_text().rpartition("nets.py:conv_net")
        yaml.write_text(f"{head}nets.py:{function}{tail}")

    return change


def test_a_model_function_that_raises(project: Project) -> None:
    network(RAISING, "raising")(project)
    where = line_of(project, "nets.py", "no such size")
    fails(project, 2, where, "model function nets.py:raising raised", "LookupError: no such size", "cure")


def test_arguments_that_do_not_fit_the_model_function(project: Project) -> None:
    project.replace("model.yaml", "width: 8", "wide: 8")
    fails(project, 2, "digit", "nets.py", "unexpected keyword argument 'wide'", "`args` that model.yaml gives it")


def test_an_unsupported_operation_is_named_with_its_line(project: Project) -> None:
    network(MISH, "Mish")(project)
    fails(project, 3, line_of(project, "nets.py", "F.mish"), "parity: mish", "cure: use relu")


def test_networks_with_different_inputs(project: Project) -> None:
    network(COLOUR, "colour")(project)
    save_file({"0.weight": torch.ones(2, 3, 8, 8), "0.bias": torch.ones(2)}, project.root / "parity.safetensors")
    fails(project, 2, "network 'parity' raised for an input of shape", "(2, 1, 8, 8)", "cure")


def test_an_input_that_fits_no_network(project: Project) -> None:
    project.replace("model.yaml", "[1, 8, 8]", "[1, 12, 12]")
    fails(project, 2, line_of(project, "nets.py", "self.hidden(x"), "'digit'", "'parity'", "input.shape")


@pytest.mark.parametrize("command", ["build", "check"])
def test_a_network_with_one_output_that_should_name_a_class(project: Project, command: str) -> None:
    append(
        "\n\ndef one(**_: int) -> nn.Module:\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 1))\n", "nets.py"
    )(project)
    save_file({"1.weight": torch.ones(1, 64), "1.bias": torch.ones(1)}, project.root / "parity.safetensors")
    text = (project.root / "model.yaml").read_text()
    head, _, tail = text.rpartition("nets.py:conv_net")
    (project.root / "model.yaml").write_text(f"{head}nets.py:one{tail}")
    run = project.pamc(command, "model.yaml")
    assert run.code == 2
    assert "nets.py:one: parity: a network with one output names no class" in run.err + run.out
    assert "`loss: binary`" in run.err + run.out


def test_build_says_what_is_wrong_with_every_network(project: Project) -> None:
    network(MISH, "Mish")(project)
    weights(lambda state: state["head.bias"].fill_(torch.nan))(project)
    fails(project, 2, "digit: the weights do not fit", "head.bias holds NaN", "parity: mish")


DATA: dict[str, tuple[Change, tuple[str, ...]]] = {
    "raises": (
        append("\n\ndef train_without_big() -> Data:\n    return open('nowhere.npz')\n", "data.py"),
        ("data function data.py:train_without_big raised", "FileNotFoundError", "nowhere.npz", "cure"),
    ),
    "wrong shape": (
        append("\n\ndef train_without_big() -> Data:\n    x, y = part(TRAINING)\n    return x[:, 0], {}\n", "data.py"),
        ("data.py:train_without_big", "samples of shape (8, 8), the input is (1, 8, 8)", "cure"),
    ),
    "wrong type": (
        append("\n\ndef evaluate_without_big() -> Data:\n    return part(TRAINING)[0].astype(float), {}\n", "data.py"),
        ("data.py:evaluate_without_big", "x is float64, the input is float32 (return x.astype(numpy.float32))"),
    ),
    "labels out of range": (
        append(
            "\n\ndef train_without_big() -> Data:\n    x, y = part(TRAINING)\n    return x, {'parity': y['digit']}\n",
            "data.py",
        ),
        ("labels of 'parity' run from 0 to 9, its network has 2 classes", "cure"),
    ),
    "unknown task": (
        append(
            "\n\ndef train_without_big() -> Data:\n    x, y = part(TRAINING)\n    return x, {'digits': x}\n", "data.py"
        ),
        ("labels for 'digits', which is no task, did you mean 'digit'?", "cure"),
    ),
}


@pytest.mark.parametrize(("change", "fragments"), DATA.values(), ids=DATA)
def test_data(project: Project, change: Change, fragments: tuple[str, ...]) -> None:
    change(project)
    where = line_of(project, "data.py", "nowhere.npz") if "nowhere.npz" in fragments else "data.py"
    fails(project, 2, where, *fragments)


def test_check_names_every_problem_at_once(tmp_path: Path) -> None:
    project = make_project(tmp_path / "kit", input=INPUT)
    two = MISH + "\n\nclass Other(ConvNet):\n    def forward(self, x: Tensor) -> Tensor:\n"
    two += "        x = F.selu(super().forward(x))\n        return x.flip(1)\n"
    append(two, "nets.py")(project)
    text = (project.root / "model.yaml").read_text().replace("nets.py:conv_net", "nets.py:Mish", 1)
    head, _, tail = text.rpartition("nets.py:conv_net")
    (project.root / "model.yaml").write_text(f"{head}nets.py:Other{tail}")
    state = load_tensors(trained(Net("parity")))
    state["conv1.weight"][0] = torch.inf
    save_file(state, project.root / "parity.safetensors")
    before = project.files()
    run = project.pamc("check", "model.yaml")
    assert run.code == 2 and run.err == ""
    table = {line.split()[1]: line for line in run.out.splitlines() if "nets.py:" in line}
    assert set(table) == {"mish", "selu", "flip"}
    for op, line in table.items():
        assert line.startswith("digit" if op == "mish" else "big")
        assert line_of(project, "nets.py", f"{op}(") in line
    assert "parity: the weights do not fit" in run.out and "conv1.weight holds NaN or infinity" in run.out
    assert project.files() == before


def test_a_file_in_the_way(project: Project) -> None:
    (project.root / "taken").write_text("mine")
    run = fails(project, 74, "taken", "is a file", "cure", args=("build", "model.yaml", "--out", "taken"))
    assert "capture" not in run.err
    assert (project.root / "taken").read_text() == "mine"


def test_a_folder_that_cannot_be_written_is_found_out_before_the_work(project: Project) -> None:
    # Root may write to every ordinary folder, but nobody can make one here.
    run = fails(
        project, 74, "/proc/kit", "cannot be written", "cure", args=("build", "model.yaml", "--out", "/proc/kit")
    )
    assert "capture" not in run.err


def test_a_folder_that_holds_something_else(project: Project) -> None:
    (project.root / "photos").mkdir()
    (project.root / "photos" / "cat.png").write_text("meow")
    message = "holds something that is not a bundle"
    run = fails(project, 74, "photos", message, "cure", args=("build", "model.yaml", "--out", "photos"))
    assert "capture" not in run.err


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = make_project(tmp_path_factory.mktemp("built") / "kit", TWO, data=TWO_DATA, input=INPUT)
    project.build()
    np.save(project.root / "x.npy", np.zeros((1, 8, 8), np.float32))
    return project


@pytest.fixture
def bundle(built: Project, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built.out, tmp_path / "bundle"))


def cut(name: str) -> Callable[[Path], object]:
    return lambda bundle: (bundle / name).write_bytes((bundle / name).read_bytes()[:-7])


def garble(bundle: Path) -> None:
    path = bundle / "multitask.json"
    path.write_text(path.read_text().replace('"kind"', '"kynd"', 1))


DAMAGES: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "no bundle": (shutil.rmtree, ("this is not a bundle", "there is no such folder", "cure")),
    "manifest": (cut("manifest.json"), ("manifest", "cannot be read", "cure")),
    "cut weights": (cut("multitask.safetensors"), ("multitask.safetensors has", "bytes, should have", "cure")),
    "lost file": (
        lambda bundle: (bundle / "onnx" / "weights.bin").unlink(),
        ("lacks the file onnx/weights.bin", "cure"),
    ),
    "changed structure": (garble, ("multitask", "cannot be read", "cure")),
}


@pytest.mark.parametrize(("damage", "fragments"), DAMAGES.values(), ids=DAMAGES)
def test_inspect_a_damaged_bundle(
    built: Project, bundle: Path, damage: Callable[[Path], object], fragments: tuple[str, ...]
) -> None:
    damage(bundle)
    fails(built, 74, *fragments, args=("inspect", bundle))


def test_run_a_damaged_bundle(built: Project, bundle: Path) -> None:
    # The same size, so only the runtime can notice.
    path = bundle / "onnx" / "digit.onnx"
    path.write_bytes(bytes(path.stat().st_size))
    fails(built, 74, "digit.onnx", args=("run", bundle, "x.npy", "--tasks", "digit"))


RUNS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "unknown task": (("x.npy", "--tasks", "digi"), ("unknown task 'digi', did you mean 'digit'?", "digit, parity")),
    "no input": (("y.npy", "--tasks", "digit"), ("y.npy: there is no such file", "cure")),
    "not an array": (("nets.py", "--tasks", "digit"), ("nets.py: is not a .npy file", "cure")),
    "shape": (("flat.npy", "--tasks", "digit"), ("flat.npy", "(64,)", "(n, 1, 8, 8)", "cure")),
    "type": (("words.npy", "--tasks", "digit"), ("words.npy", "float32", "cure")),
    "plan of an unknown task": (("inspect", "--plan", "digit+odd"), ("unknown task 'odd'", "digit, parity")),
}


@pytest.mark.parametrize(("args", "fragments"), RUNS.values(), ids=RUNS)
def test_run(built: Project, args: tuple[str, ...], fragments: tuple[str, ...]) -> None:
    np.save(built.root / "flat.npy", np.zeros(64, np.float32))
    np.save(built.root / "words.npy", np.full((1, 8, 8), "a"))
    verb, *rest = args if args[0] == "inspect" else ("run", *args)
    command: tuple[str | Path, ...] = (verb, built.out, *rest)
    fails(built, 2, *fragments, args=command)


def interrupted(project: Project, args: tuple[str, ...], line: str, number: signal.Signals) -> tuple[int, str]:
    """Start a build, wait for a line of its progress, send the signal; the exit status and all of stderr."""
    with project.start(*args) as process:
        assert process.stderr is not None
        said = ""
        for text in process.stderr:
            said += text
            if text.startswith(line):
                process.send_signal(number)
                break
        said += process.stderr.read()
    return process.returncode, said


def entries(project: Project) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (project.cache / "prune-steps").glob("*.entry")}


def contents(bundle: Path) -> dict[str, bytes]:
    varying = {"manifest.json", "report.html", "report.md"}
    files = [path for path in bundle.rglob("*") if path.is_file() and path.name not in varying]
    return {path.relative_to(bundle).as_posix(): path.read_bytes() for path in files}


LONG = QUICK.replace("step: 0.3, recover: 4", "step: 0.1, recover: 40")
COMMAND = ("build", "model.yaml", "--target", "x86_64")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    project = long_project(tmp_path_factory.mktemp("undisturbed"))
    project.build()
    return contents(project.out)


def long_project(folder: Path) -> Project:
    prune = f"{{method: taylor, budget: {{macs: 0.5}}, options: {LONG}}}"
    return make_project(folder / "kit", TWO, data=TWO_DATA, input=INPUT, prune=prune)


def test_ctrl_c_while_pruning_leaves_nothing_and_resumes(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    project = long_project(tmp_path)
    before = project.files()
    code, said = interrupted(project, COMMAND, "step 2:", signal.SIGINT)
    assert code == 130
    assert said.endswith("interrupted; run the same command again to resume\n") and "Traceback" not in said
    assert project.files() == before
    kept = entries(project)
    assert len(kept) >= 5, "healed, and two networks for each of two steps"
    run = project.pamc(*COMMAND, "--no-latency")
    assert run.code == 0, run.err
    assert contents(project.out) == undisturbed
    assert {name: entries(project)[name] for name in kept} == kept, "made anew, not resumed"


def test_after_a_kill_the_next_build_resumes_and_cleans_up(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    project = long_project(tmp_path)
    before = project.files()
    assert interrupted(project, COMMAND, "step 2:", signal.SIGKILL)[0] == -signal.SIGKILL
    assert project.files() == before
    kept = entries(project)
    assert interrupted(project, COMMAND, "latency", signal.SIGKILL)[0] == -signal.SIGKILL
    assert {name: entries(project)[name] for name in kept} == kept
    (left,) = project.out.parent.iterdir()
    assert left.name.startswith("kit.partial-")
    run = project.pamc(*COMMAND, "--no-latency")
    assert run.code == 0, run.err
    assert [path.name for path in project.out.parent.iterdir()] == ["kit"]
    assert contents(project.out) == undisturbed
