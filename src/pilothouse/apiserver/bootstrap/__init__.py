"""The objects of a new cluster: `bootstrap(hub, options)` creates what is missing."""

from pilothouse.apiserver.bootstrap.cluster import BootstrapOptions, bootstrap, keep_namespaces, keep_service, renew_identity
from pilothouse.apiserver.bootstrap.maintenance import keep_flow_control

__all__ = ["BootstrapOptions", "bootstrap", "keep_flow_control", "keep_namespaces", "keep_service", "renew_identity"]
