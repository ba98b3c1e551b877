"""docs/compatibility.md has a row for each resource, each admission plugin and each controller, and names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

from pilothouse.api import tables
from pilothouse.apiserver.admission.chain import PLUGINS
from pilothouse.cloud import registry as cloud
from pilothouse.controllers.registry import ENTRIES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "compatibility.md").read_text()
FOLDERS = {
    "K/": "tests/unit/api/kinds/",
    "U/": "tests/unit/apiserver/",
    "I/": "tests/integration/",
    "C/": "tests/unit/controllers/",
    "E/": "tests/e2e/",
    "L/": "tests/unit/cloud/",
}


def rows(title: str) -> list[list[str]]:
    """Cells of the table under a heading."""
    section = PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")][2:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_each_resource_has_a_row_with_its_versions_and_tests() -> None:
    served: dict[str, set[str]] = {}
    for resource in tables.RESOURCES:
        served.setdefault(resource.plural, set()).add(resource.api_version)
    told = {row[0].strip("`"): set(re.findall(r"`([^`]+)`", row[1])) for row in rows("Resources")}
    assert told == served
    assert [row[0] for row in rows("Resources") if "test_" not in row[3]] == []


def test_each_admission_plugin_has_a_row_in_its_place() -> None:
    assert [row[:2] for row in rows("Admission plugins")] == [[name, "on" if on else "off"] for name, on, _ in PLUGINS]


def test_each_controller_has_rows() -> None:
    assert {row[0].strip("`") for row in rows("Controllers")} - {"all"} == {entry.name for entry in ENTRIES}


def test_each_controller_of_clouds_has_rows() -> None:
    told = {name for row in rows("Controllers of clouds") for name in re.findall(r"`([a-z-]+-controller)`", row[0])}
    here = {entry.name for entry in cloud.ENTRIES if not entry.place.startswith("pilothouse.cloud.gateway.")}
    assert told == here, "those of the Gateway API are told of elsewhere"


def test_tests_that_are_named_exist() -> None:
    named = set(re.findall(r"`((?:[KUICEL]|tests(?:/\w+)*)/test_\w+\.py)`", PAGE))
    assert len(named) > 50
    missing = [name for name in named if not (ROOT / (FOLDERS.get(name[:2], name[:2]) + name[2:])).exists()]
    assert missing == []
