"""What the API server says itself about objects that others wrote: their conditions, kept true while it runs.

Each file follows one kind: flow schemas that lead nowhere, API services that do not answer, definitions that need one. They work like controllers, level-triggered
from the watch caches, and each server of a store does the same: who loses a race finds the status right.
"""

from pilothouse.apiserver.upkeep.apiservices import APIServices
from pilothouse.apiserver.upkeep.flowschemas import FlowSchemas
from pilothouse.apiserver.upkeep.follower import Follower
from pilothouse.apiserver.upkeep.registrations import Registrations

__all__ = ["APIServices", "FlowSchemas", "Follower", "Registrations"]
