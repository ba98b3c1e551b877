"""A cloud provider as somebody else would publish it: a package of its own, found by its entry point. It is the fake one under another name."""

from __future__ import annotations

from pathlib import Path

NAME = "acme"
_MODULE = """
from pilothouse.testing.cloud import FakeProvider, make as make_fake


def make(config, clock):
    return make_fake(config, clock)
"""


def publish(folder: Path) -> Path:
    """Put the package into a folder that is to be on the path of whoever shall find it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "acme_cloud.py").write_text(_MODULE)
    metadata = folder / "acme_cloud-1.0.dist-info"
    metadata.mkdir(exist_ok=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-cloud\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[pilothouse.cloud_providers]\n{NAME} = acme_cloud:make\n")
    return folder
