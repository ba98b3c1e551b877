"""--admission-control-config-file: what single plugins are told (AdmissionConfiguration of apiserver.config.k8s.io/v1).

Each entry names a plugin and has its configuration, in place or in a file of its own (relative to this one).
"""

from __future__ import annotations

from pathlib import Path

from pilothouse.api.errors import Obj

_VERSIONS = ("apiserver.config.k8s.io/v1", "apiserver.config.k8s.io/v1alpha1")


def load(path: Path) -> dict[str, Obj]:
    """Configurations by plugin. ValueError, in one line, for a file that says nothing useful; OSError for one that cannot be read."""
    document = _read(path)
    if document.get("kind") != "AdmissionConfiguration" or document.get("apiVersion") not in _VERSIONS:
        raise ValueError(f"{path}: want an AdmissionConfiguration of {_VERSIONS[0]}")
    found: dict[str, Obj] = {}
    for entry in document.get("plugins") or ():
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise ValueError(f"{path}: each of `plugins` needs a name")
        content = entry.get("configuration")
        if content is None and entry.get("path"):
            content = _read(path.parent / entry["path"])
        if not isinstance(content, dict):
            raise ValueError(f"{path}: plugin {entry['name']}: want an object in `configuration`, or a file in `path`")
        found[entry["name"]] = content
    return found


def _read(path: Path) -> Obj:
    from pilothouse.api.yamltext import settings  # only where somebody has such a file

    document = settings(path.read_text(), str(path))
    if not isinstance(document, dict):
        raise ValueError(f"{path}: want an object")
    return document
