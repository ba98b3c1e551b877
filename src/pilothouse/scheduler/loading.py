"""Where plugins come from: those that ship with the scheduler, those of installed packages, and those of files.

A package offers its plugins by entry points of the group `pilothouse.scheduler.plugins` (a class, by any name); a file offers all
subclasses of `Plugin` that it defines. Everything that is wrong with one is told in one line.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from pilothouse.scheduler.config import POINTS, ConfigError, SchedulerConfig, default_config, parse_config
from pilothouse.scheduler.framework import Plugin
from pilothouse.scheduler.plugins import BY_NAME

Registry = dict[str, type[Plugin]]

ENTRY_POINTS = "pilothouse.scheduler.plugins"


def load_config(config: Path | None, files: Iterable[Path] = ()) -> SchedulerConfig:
    """The configuration of a file (None: the defaults) with the plugins of packages and files. ConfigError, in one line, if it cannot be."""
    files = list(files)
    if config is None and not files:
        return default_config()
    found = registry(files)
    parsed = default_config(found) if config is None else parse_config(_read(config), found)
    enabled = {plugin.name for profile in parsed.profiles.values() for plugin in profile.plugins}
    for file in files:
        unused = [name for name, cls in found.items() if cls.__module__ == _module_name(file) and name not in enabled]
        if unused:
            raise ConfigError(f"{file}: no profile of the configuration enables the plugin {unused[0]}")
    return parsed


def _read(path: Path) -> dict[str, Any]:
    from pilothouse.api.yamltext import settings

    text = path.read_text()
    try:
        document = settings(text, str(path))
    except ValueError as error:
        raise ConfigError(str(error)) from None
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: expected a mapping")
    return document


def registry(files: Iterable[Path] = ()) -> Registry:
    """All plugins by name."""
    found: Registry = dict(BY_NAME)
    for entry in entry_points(group=ENTRY_POINTS):
        where = f"entry point {entry.name}"
        try:
            loaded = entry.load()
        except Exception as error:
            raise ConfigError(f"{where}: {_told(error)}") from None
        _add(found, loaded, where)
    for file in files:
        _add_file(found, file)
    return found


def _add_file(found: Registry, file: Path) -> None:
    module = _run(file)
    classes = [
        v for v in vars(module).values() if isinstance(v, type) and issubclass(v, Plugin) and v.__module__ == module.__name__
    ]
    if not classes:
        raise ConfigError(f"{file}: defines no subclass of Plugin")
    for cls in classes:
        _add(found, cls, str(file))


def _module_name(file: Path) -> str:
    return f"pilothouse_plugin_{file.stem}_{abs(hash(str(file.resolve()))):x}"


def _run(file: Path) -> ModuleType:
    """The file's module, run anew each time."""
    module = ModuleType(_module_name(file))
    module.__file__ = str(file)
    try:
        code = compile(file.read_bytes(), str(file), "exec")
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from None
    except (SyntaxError, ValueError) as error:
        line = f":{error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        raise ConfigError(f"{file}{line}: {type(error).__name__}: {error.args[0]}") from None
    sys.modules[module.__name__] = module
    try:
        exec(code, vars(module))
    except Exception as error:
        raise ConfigError(_told(error, file)) from None
    return module


def _told(error: Exception, file: Path | None = None) -> str:
    """An error of somebody else's code in one line, with the line of the file where it happened."""
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if file is not None and f.filename == str(file)]
    where = f"{file}:{lines[-1]}: " if lines else f"{file}: " if file else ""
    return f"{where}{type(error).__name__}: {' '.join(str(error).split())}"


def _add(found: Registry, cls: Any, where: str) -> None:
    if not (isinstance(cls, type) and issubclass(cls, Plugin)):
        raise ConfigError(f"{where}: {cls!r} is not a subclass of Plugin")
    if not cls.name:
        raise ConfigError(f"{where}: the plugin {cls.__name__} has no name")
    if cls.name in found:
        raise ConfigError(f"{where}: there is a plugin {cls.name} already")
    if not any(_implements(cls, method) for methods in POINTS.values() for method in methods):
        raise ConfigError(f"{where}: the plugin {cls.name} implements no extension point")
    found[cls.name] = cls


def _implements(cls: type[Plugin], method: str) -> bool:
    return getattr(cls, method) is not getattr(Plugin, method)


def stamps(files: Iterable[Path]) -> Mapping[Path, tuple[int, int] | None]:
    """When files were last written, and how long they are; None for one that is not there."""
    out: dict[Path, tuple[int, int] | None] = {}
    for file in files:
        try:
            found = file.stat()
            out[file] = (found.st_mtime_ns, found.st_size)
        except OSError:
            out[file] = None
    return out
