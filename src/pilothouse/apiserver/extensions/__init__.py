"""Custom resources at work: definitions become served resources, get their conditions, and are emptied when they are deleted."""

from pilothouse.apiserver.extensions.controller import Extensions

__all__ = ["Extensions"]
