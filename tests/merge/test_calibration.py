"""What merging gets to see in a build."""

from pathlib import Path

from tests.builds.project import Net, make_project

SPOILT = """

def spoilt():
    x, labels = evaluate_without_big()
    return 1 - x[::-1], {task: values[::-1].copy() for task, values in labels.items()}
"""


def test_a_build_merges_by_training_samples_alone(tmp_path: Path) -> None:
    """Trap of the published code: Regroup ran on the test set."""
    views = []
    for name in ("evaluate_without_big", "spoilt"):
        project = make_project(
            tmp_path / name,
            (Net("digit"), Net("parity")),
            data=f'{{train: "data.py:train_without_big", eval: "data.py:{name}", validation: "data.py:{name}"}}',
            merge="{method: pam, options: {samples: 64, shared: 0.0}}",
        )
        with (project.root / "data.py").open("a") as file:
            file.write(SPOILT)
        views.append(project.build(stop_after="merge").view)
    assert views[0] is not None
    assert views[0] == views[1]
