"""The objects of a new cluster: `bootstrap(hub, options)` creates what is missing."""

from pilothouse.apiserver.bootstrap.cluster import BootstrapOptions, bootstrap, keep_namespaces, renew_identity

__all__ = ["BootstrapOptions", "bootstrap", "keep_namespaces", "renew_identity"]
