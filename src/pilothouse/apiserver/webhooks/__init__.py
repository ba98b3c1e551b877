"""Asking others: HTTPS calls of admission and conversion webhooks, by URL or by service."""

from pilothouse.apiserver.webhooks.caller import BadClient, Caller, CallFailed

__all__ = ["BadClient", "CallFailed", "Caller"]
