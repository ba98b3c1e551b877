"""Pilothouse: a Kubernetes control plane in Python."""

__version__ = "0.1.0"

#: The Kubernetes version whose API is served, as `kubectl version` shows it.
KUBERNETES_VERSION = "v1.36.0"
GIT_VERSION = f"{KUBERNETES_VERSION}+pilothouse.{__version__}"
