"""The bundle, the folder that a build writes: its manifest, writing it, opening it, and the cache of stages."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pamc.bundle.digest import code_version, digest
from pamc.bundle.manifest import MANIFEST, Check, Manifest, from_json, to_json
from pamc.bundle.read import GRAPH, GRAPH_WEIGHTS, VECTORS, Bundle, open_bundle

if TYPE_CHECKING:
    from pamc.bundle.cache import StageCache, cache_root
    from pamc.bundle.write import BundleWriter, check_out, file_entry

__all__ = [
    "GRAPH",
    "GRAPH_WEIGHTS",
    "MANIFEST",
    "VECTORS",
    "Bundle",
    "BundleWriter",
    "Check",
    "Manifest",
    "StageCache",
    "cache_root",
    "check_out",
    "code_version",
    "digest",
    "file_entry",
    "from_json",
    "open_bundle",
    "to_json",
]

# What only builds need, so that running a bundle does not wait for it.
_LATE = {
    "BundleWriter": "write",
    "StageCache": "cache",
    "cache_root": "cache",
    "check_out": "write",
    "file_entry": "write",
}


def __getattr__(name: str) -> Any:
    if name in _LATE:
        return getattr(import_module(f"pamc.bundle.{_LATE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
