"""The bundle, the folder that a build writes: its manifest, writing it, opening it, and the cache of stages."""

from pamc.bundle.cache import StageCache, cache_root
from pamc.bundle.digest import code_version, digest
from pamc.bundle.manifest import MANIFEST, Check, Manifest, from_json, to_json
from pamc.bundle.read import GRAPH, GRAPH_WEIGHTS, VECTORS, Bundle, open_bundle
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
