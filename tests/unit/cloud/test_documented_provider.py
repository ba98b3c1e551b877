"""The provider in docs/cloud-providers.md passes the suite that the page tells of, as the page has it."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs" / "cloud-providers.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)

_module = types.ModuleType("acme_cloud")
exec(compile(BLOCKS[0], str(PAGE), "exec"), _module.__dict__)
sys.modules["acme_cloud"] = _module
exec(compile(BLOCKS[1], str(PAGE), "exec"), globals())
del sys.modules["acme_cloud"]


async def test_faults_are_planned_as_the_page_shows() -> None:
    exec(compile(BLOCKS[2], str(PAGE), "exec"), {})
