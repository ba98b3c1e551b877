"""YAML as the reference server writes it: keys sorted, lists not indented, strings quoted only where they would read as something else."""

from __future__ import annotations

import re
from typing import Any

import yaml

#: Plain scalars that YAML 1.1 readers take for something other than a string.
_AMBIGUOUS = re.compile(
    r"""(?:
        [yYnN~] | yes | Yes | YES | no | No | NO | true | True | TRUE | false | False | FALSE | on | On | ON | off | Off | OFF
      | null | Null | NULL | <<
      | [-+]?0b[0-1_]+ | [-+]?0o?[0-7_]+ | [-+]?[0-9][0-9_]* | [-+]?0x[0-9a-fA-F_]+
      | [-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)? | [-+]?\.(?:inf|Inf|INF) | \.(?:nan|NaN|NAN)
      | [0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt \t].*)?
      | [-+]?[1-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?
      |
    )""",
    re.X,
)


class _Dumper(yaml.SafeDumper):
    """Block style throughout; empty collections in flow style."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, indentless)


def _string(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    style = None
    if _AMBIGUOUS.fullmatch(text):
        style = '"'
    elif "\n" in text:
        style = "|"
    elif not text.isprintable():
        style = '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _string)
_Dumper.add_multi_representer(dict, yaml.SafeDumper.represent_dict)
_Dumper.add_multi_representer(list, yaml.SafeDumper.represent_list)


def dump(obj: Any) -> bytes:
    """A JSON-able object as a YAML document."""
    text: str = yaml.dump(
        obj, Dumper=_Dumper, default_flow_style=False, sort_keys=True, allow_unicode=True, width=80, indent=2
    )  # fmt: skip
    return text.encode()
