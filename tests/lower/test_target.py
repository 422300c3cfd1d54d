import pytest

from pamc.errors import ConfigError
from pamc.lower import load_target, target_names


def test_all_targets_load_and_are_described():
    assert target_names() == ("android-arm64", "arm64", "armv7", "x86_64")
    for name in target_names():
        target = load_target(name)
        assert target.name == name
        assert target.description
        assert min(target.channel_tile, target.threads) >= 1
        assert (target.onnx_opset, target.onnx_ir_version) == (17, 8)


def test_an_unknown_target_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigError) as caught:
        load_target("arm46")
    assert "unknown target 'arm46', did you mean 'arm64'?" in str(caught.value)
    assert "use one of: android-arm64, arm64, armv7, x86_64" in str(caught.value)


def test_a_target_name_is_not_a_path():
    with pytest.raises(ConfigError):
        load_target("../targets/arm64")
