"""The engine that is always there: sockets, HTTP and TLS in this process, on asyncio (uvloop where it runs).

Import `pilothouse.dataplane.embedded.engine` only where it is started: nothing of it is loaded before.
"""
