"""Fields of features that are off by default: what is in them is dropped, as if it were not there (docs: "Feature Gates").

ClusterTrustBundleProjection, PodCertificateRequest, ContainerStopSignals, GenericWorkload.
"""

from __future__ import annotations

from pilothouse.api.errors import Obj

_SPEC_FIELDS = ("workloadRef", "schedulingGroup")
_PROJECTIONS = ("clusterTrustBundle", "podCertificate")


def drop_disabled(spec: Obj) -> None:
    """Take them from a PodSpec, in place."""
    for field in _SPEC_FIELDS:
        if field in spec:
            del spec[field]
    for volume in spec.get("volumes") or ():
        if volume.get("projected"):
            for source in volume["projected"].get("sources") or ():
                for field in _PROJECTIONS:
                    source.pop(field, None)
    for group in ("containers", "initContainers"):
        for container in spec.get(group) or ():
            if container.get("lifecycle"):
                container["lifecycle"].pop("stopSignal", None)
