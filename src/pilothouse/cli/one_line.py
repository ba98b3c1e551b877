"""Mistakes on the command line, told in one line: `pilothouse: ...` and exit code 2, without the usage that `--help` shows."""

from __future__ import annotations

import sys
from typing import Any

import typer
from typer.core import TyperGroup

#: What all of typer's complaints about arguments derive from; it has no public name.
_Complaint: Any = next(base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException")


class Commands(TyperGroup):
    """A group of commands that complain in one line."""

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        try:
            code = super().main(*args, **extra | {"standalone_mode": False})
        except _Complaint as complaint:
            if not standalone_mode:
                raise
            code = _told(complaint)
        except typer.Abort:
            if not standalone_mode:
                raise
            code = 130
        if standalone_mode:
            sys.exit(code if isinstance(code, int) else 0)
        return code


def _told(complaint: Any) -> int:
    """Print it; the exit code."""
    if type(complaint).__name__ == "NoArgsIsHelpError":  # which has printed the help already, or carries it
        text = complaint.format_message().rstrip()
        if text:
            typer.echo(text, err=True)
        return 2
    context = getattr(complaint, "ctx", None)
    where = context.command_path if context is not None else "pilothouse"
    message = " ".join(complaint.format_message().split())
    typer.echo(f"pilothouse: {message[:1].lower()}{message[1:].rstrip('.')} ({where} --help tells what there is)", err=True)
    return int(complaint.exit_code)
