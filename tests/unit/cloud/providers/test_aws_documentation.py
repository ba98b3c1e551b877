"""docs/aws.md tells of every setting, every annotation and every permission that the provider needs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]
PAGE = (ROOT / "docs" / "aws.md").read_text()
SOURCE = ROOT / "src" / "pilothouse" / "cloud" / "providers" / "aws"
_READ = re.compile(
    r'(?:told\.(?:text|words|choice|flag|number|pairs|wrong)\(|self\._told\.\w+\()"([a-z0-9-]+)"|"([a-z0-9-]+)" in told'
)
_CALLED = re.compile(r'"(ec2|elbv2|acm)",\s+(?:"replace_route" if there else )?"([a-z]+_[a-z_]+)"')


def names(file: str) -> set[str]:
    return {name for found in _READ.findall((SOURCE / file).read_text()) for name in found if name}


@pytest.mark.parametrize("file", ["nlb.py", "alb.py", "gateways.py"])
def test_annotations_are_documented(file: str) -> None:
    found = names(file)
    assert len(found) > 5
    assert {name for name in found if f"`{name}`" not in PAGE} == set()


def test_settings_are_documented() -> None:
    from pilothouse.cloud.providers.aws.config import _GLOBAL

    assert {name for name in [*_GLOBAL, "endpointurl", "serviceoverride"] if name not in PAGE.lower()} == set()


def test_permissions_are_documented() -> None:
    text = "".join(path.read_text() for path in SOURCE.glob("*.py"))
    called = set(_CALLED.findall(text)) | {
        ("ec2", "create_route"),
        ("elbv2", "register_targets"),
        ("elbv2", "deregister_targets"),
    }
    assert len(called) > 30
    service = {"ec2": "ec2", "elbv2": "elasticloadbalancing", "acm": "acm"}
    wanted = {f"{service[where]}:{''.join(part.title() for part in name.split('_'))}" for where, name in called}
    missing = {action for action in wanted if action not in PAGE and not action.startswith("elasticloadbalancing:Describe")}
    assert missing == set()
