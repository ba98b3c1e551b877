"""Plugins that do not ship with the scheduler: found, enabled, told off in one line, and kept from breaking anything."""

from __future__ import annotations

import asyncio
import importlib.metadata
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_schedule import node, pod, table_of

from pilothouse.clock import VirtualClock
from pilothouse.scheduler import plugin as door
from pilothouse.scheduler.config import ConfigError, SchedulerConfig
from pilothouse.scheduler.decision import Decision
from pilothouse.scheduler.loading import load_config, registry
from pilothouse.scheduler.podinfo import pod_info
from pilothouse.scheduler.reload import follow
from pilothouse.scheduler.schedule import Snapshot, schedule
from pilothouse.scheduler.table import NodeTable

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "examples" / "scheduler-plugins"
HEAD = "from pilothouse.scheduler.plugin import Code, Plugin, Rejected, Status\n"


def config_file(folder: Path, *enabled: str, point: str = "multiPoint", **more: Any) -> Path:
    plugins = {point: {"enabled": [{"name": name, "weight": 1} for name in enabled]}}
    document = {"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration",
                "profiles": [{"plugins": plugins, **more}]}  # fmt: skip
    file = folder / "scheduler.yaml"
    file.write_text(yaml.safe_dump(document))
    return file


def plugin_file(folder: Path, text: str) -> Path:
    file = folder / "mine.py"
    file.write_text(HEAD + text)
    return file


def decided(config: SchedulerConfig, table: NodeTable, **spec: Any) -> Decision:
    return schedule(Snapshot(table), pod_info(pod("p", **spec)), config.profiles["default-scheduler"])


def gpu_nodes() -> NodeTable:
    nodes = [node("free", cpu="64"), node("busy", cpu="64")]
    for each in nodes:
        each["status"]["allocatable"]["nvidia.com/gpu"] = "8"
    table = table_of(*nodes)
    there = pod("there", cpu="8")
    there["spec"]["containers"][0]["resources"]["requests"]["nvidia.com/gpu"] = "4"
    table.add_pod(pod_info(there), "busy")
    return table


def test_the_example_packs_gpus() -> None:
    asked = pod("p", cpu="1")
    asked["spec"]["containers"][0]["resources"]["requests"]["nvidia.com/gpu"] = "2"
    packed = load_config(EXAMPLES / "scheduler.yaml", [EXAMPLES / "gpu_pack.py"]).profiles["default-scheduler"]
    plain = load_config(None).profiles["default-scheduler"]
    assert schedule(Snapshot(gpu_nodes()), pod_info(asked), plain).node == "free"
    decision = schedule(Snapshot(gpu_nodes()), pod_info(asked), packed)
    assert decision.node == "busy" and decision.scores["GpuPack"] == {"free": 250, "busy": 750}
    assert "GpuPack" not in schedule(Snapshot(gpu_nodes()), pod_info(pod("q")), packed).scores


def test_the_code_of_the_documentation_works(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "scheduler-plugins.md").read_text()
    blocks = re.findall(r"```(\w+)\n(.*?)```", text, re.DOTALL)
    first, second = (code for language, code in blocks if language == "python")
    assert first in (EXAMPLES / "gpu_pack.py").read_text().partition('"""\n\n')[2] + "\n"
    assert yaml.safe_load(next(code for language, code in blocks if language == "yaml")) == yaml.safe_load(
        (EXAMPLES / "scheduler.yaml").read_text()
    )
    config = load_config(config_file(tmp_path, "QuietNodes"), [plugin_file(tmp_path, second)])
    decision = decided(config, table_of(node("loud", labels={"noisy": "true"}), node("b")))
    assert decision.node == "b" and decision.rejected[0].reason == "node(s) were noisy"


def test_a_plugin_of_a_package_is_found_by_its_entry_point(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "offered.py").write_text(
        HEAD + "class Offered(Plugin):\n    name = 'Offered'\n    def score(self, c, n): return 1\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    entry = importlib.metadata.EntryPoint("any", "offered:Offered", "pilothouse.scheduler.plugins")
    monkeypatch.setattr("pilothouse.scheduler.loading.entry_points", lambda group: [entry])
    assert registry()["Offered"].__name__ == "Offered"
    broken = importlib.metadata.EntryPoint("any", "offered:Missing", "pilothouse.scheduler.plugins")
    monkeypatch.setattr("pilothouse.scheduler.loading.entry_points", lambda group: [broken])
    with pytest.raises(ConfigError, match="entry point any: AttributeError"):
        registry()


def test_a_plugin_enabled_at_one_point_works_only_there(tmp_path: Path) -> None:
    both = "class P(Plugin):\n    name = 'P'\n    def filter(self, c, n): return Status(Code.UNSCHEDULABLE, ('no',))\n"
    file = plugin_file(tmp_path, both + "    def score(self, c, n): return 7\n")
    config = load_config(config_file(tmp_path, "P", point="score"), [file])
    assert decided(config, table_of(node("a"), node("b"))).scores["P"] == {"a": 7, "b": 7}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("class P(Plugin:\n", "mine.py:2: SyntaxError"),
        ("x = 1\n", "defines no subclass of Plugin"),
        ("import nothing_of_that_name\n", "mine.py:2: ModuleNotFoundError: No module named 'nothing_of_that_name'"),
        ("class P(Plugin):\n    name = 'P'\n", "the plugin P implements no extension point"),
        ("class P(Plugin):\n    def score(self, c, n): return 1\n", "the plugin P has no name"),
        (
            "class P(Plugin):\n    name = 'NodePorts'\n    def score(self, c, n): return 1\n",
            "there is a plugin NodePorts already",
        ),
        (
            "class P(Plugin):\n    name = 'Q'\n    def score(self, c, n): return 1\n",
            "no profile of the configuration enables the plugin Q",
        ),
        (
            "class P(Plugin):\n    name = 'P'\n    def score(self, c, n): return 1\n    def __init__(self, args=None):\n        raise KeyError('size')\n",
            "plugin P: KeyError: 'size'",
        ),
    ],
)
def test_a_bad_file_is_told_in_one_line(tmp_path: Path, text: str, told: str) -> None:
    enabled = ["P"] if "implements" not in told and "name = 'P'" in text else []
    with pytest.raises(ConfigError) as refused:
        load_config(config_file(tmp_path, *enabled), [plugin_file(tmp_path, text)])
    assert told in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("def filter(self, c, n): return 1 / 0", "running plugin 'P': ZeroDivisionError: division by zero"),
        ("def score(self, c, n): return 101", "running plugin 'P': ValueError: P scores 101, which is not within 0..100"),
        ("def pre_filter(self, c): raise KeyError('x')", "running plugin 'P': KeyError: 'x'"),
    ],
)
def test_a_plugin_that_fails_fails_the_pod_and_nothing_else(tmp_path: Path, body: str, told: str) -> None:
    file = plugin_file(tmp_path, f"class P(Plugin):\n    name = 'P'\n    {body}\n")
    decision = decided(load_config(config_file(tmp_path, "P"), [file]), table_of(node("a"), node("b")))
    assert (decision.node, decision.reason, decision.message) == (None, "SchedulerError", told)


async def test_files_are_followed_and_a_bad_one_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = "class P(Plugin):\n    name = 'P'\n    def score(self, c, n): return %s\n"
    file, clock = plugin_file(tmp_path, text % 1), VirtualClock()
    config, applied = config_file(tmp_path, "P"), list[SchedulerConfig]()
    task = asyncio.create_task(follow(clock, config, [file], applied.append))
    await clock.advance(3)
    assert applied == []
    plugin_file(tmp_path, text % 22)
    await clock.advance(3)
    assert decided(applied[0], table_of(node("a"), node("b"))).scores["P"] == {"a": 22, "b": 22}
    plugin_file(tmp_path, text % "")
    file.write_text("broken(")
    await clock.advance(3)
    assert len(applied) == 1 and "goes on as before" in caplog.text
    task.cancel()


def test_the_public_door_is_whole() -> None:
    assert all(hasattr(door, name) for name in door.__all__)
