"""Storage classes, drivers, attachments and volumes: what they are given, and what is wrong with bad ones."""

from __future__ import annotations

from typing import Any

import pytest
from kind_kit import Kind

G = "storage.k8s.io"
classes = Kind(G, "v1", "storageclasses")
attributes = Kind(G, "v1", "volumeattributesclasses")
drivers = Kind(G, "v1", "csidrivers")
csi_nodes = Kind(G, "v1", "csinodes")
attachments = Kind(G, "v1", "volumeattachments")
capacities = Kind(G, "v1", "csistoragecapacities")
volumes = Kind("", "v1", "persistentvolumes")
claims = Kind("", "v1", "persistentvolumeclaims")

ATTACHMENT: dict[str, Any] = {"spec": {"attacher": "a.b", "nodeName": "n", "source": {"persistentVolumeName": "pv"}}}


def test_a_storage_class_deletes_and_binds_at_once_by_default() -> None:
    assert classes.stored({"provisioner": "a.b"}) == {
        "provisioner": "a.b",
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "Immediate",
    }


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"provisioner": ""}, "provisioner: Required value"),
        ({"reclaimPolicy": "Recycle"}, 'reclaimPolicy: Unsupported value: "Recycle": supported values: "Delete", "Retain"'),
        ({"parameters": {"": "x"}}, 'parameters: Invalid value: "": field can not be empty.'),
        ({"parameters": {"k": "v" * 262144}}, "parameters: Too long: may not be more than 262144 bytes"),
        ({"allowedTopologies": [{}]}, 'allowedTopologies[0].matchLabelExpressions: Duplicate value: ""'),
        (
            {"allowedTopologies": [{"matchLabelExpressions": [{"key": "z", "values": ["a", "a"]}]}]},
            'allowedTopologies[0].matchLabelExpressions[0].values[1]: Duplicate value: "a"',
        ),
    ],
)
def test_a_bad_storage_class_is_refused(more: dict[str, Any], told: str) -> None:
    assert classes.wrong({"provisioner": "a.b", **more}) == [told]


def test_a_storage_class_keeps_its_policy() -> None:
    assert classes.update({"provisioner": "a.b"}, {"reclaimPolicy": "Retain"})[1] == [
        'reclaimPolicy: Invalid value: "Retain": field is immutable'
    ]
    assert classes.update({"provisioner": "a.b"}, {"allowVolumeExpansion": True})[1] == []


def test_a_volume_attributes_class_needs_parameters_and_keeps_them() -> None:
    good = {"driverName": "a.b", "parameters": {"iops": "1"}}
    assert attributes.stored(good) == good
    assert attributes.wrong({"driverName": "a.b"}) == ["parameters: Required value: must contain at least one key/value pair"]
    assert attributes.update(good, {"driverName": "c.d"})[1] == ["driverName: Forbidden: updates to driverName are forbidden."]


def test_a_driver_is_given_what_it_does_not_say() -> None:
    assert drivers.stored({"spec": {}}) == {
        "spec": {
            "attachRequired": True,
            "podInfoOnMount": False,
            "volumeLifecycleModes": ["Persistent"],
            "storageCapacity": False,
            "fsGroupPolicy": "ReadWriteOnceWithFSType",
            "requiresRepublish": False,
            "seLinuxMount": False,
        }
    }


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        (
            {"fsGroupPolicy": "x"},
            'spec.fsGroupPolicy: Unsupported value: "x": supported values: "File", "None", "ReadWriteOnceWithFSType"',
        ),
        ({"tokenRequests": [{"audience": "a"}] * 2}, 'spec.tokenRequests[1].audience: Duplicate value: "a"'),
        (
            {"tokenRequests": [{"audience": "a", "expirationSeconds": 1}]},
            "spec.tokenRequests[0].expirationSeconds: Invalid value: 1: may not specify a duration less than 10 minutes",
        ),
    ],
)
def test_a_bad_driver_is_refused(spec: dict[str, Any], told: str) -> None:
    assert drivers.wrong({"spec": spec}) == [told]


def test_a_driver_keeps_whether_it_attaches() -> None:
    assert drivers.update({"spec": {}}, {"spec": {"attachRequired": False}})[1] == [
        "spec.attachedRequired: Invalid value: false: field is immutable"
    ]


def test_a_node_tells_each_driver_once_and_keeps_its_id() -> None:
    one = {"name": "a.b", "nodeID": "x", "topologyKeys": ["zone"]}
    assert csi_nodes.wrong({"spec": {"drivers": [one, one]}}) == ['spec.drivers[1].name: Duplicate value: "a.b"']
    assert csi_nodes.wrong({"spec": {"drivers": [{"name": "a.b"}]}}) == ["spec.drivers[0].nodeID: Required value"]
    changed = csi_nodes.update({"spec": {"drivers": [one]}}, {"spec": {"drivers": [{**one, "nodeID": "y"}]}})[1]
    shown = '{"Name":"a.b","NodeID":"y","TopologyKeys":["zone"],"Allocatable":null}'
    assert changed == [f"spec.drivers: Invalid value: {shown}: field is immutable"]
    assert csi_nodes.update({"spec": {"drivers": [one]}}, {"spec": {"drivers": [{**one, "allocatable": {"count": 3}}]}})[1] == []


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ({}, "spec.source: Required value: must specify exactly one of inlineVolumeSpec and persistentVolumeName"),
        (
            {"persistentVolumeName": "pv", "inlineVolumeSpec": {}},
            "spec.source: Forbidden: must specify exactly one of inlineVolumeSpec and persistentVolumeName",
        ),
        (
            {"inlineVolumeSpec": {"accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"}}},
            "spec.source.inlineVolumeSpec.csi: Required value: has to be specified in the context of inline volumes",
        ),
    ],
)
def test_an_attachment_has_one_source(source: dict[str, Any], told: str) -> None:
    assert attachments.wrong({"spec": {**ATTACHMENT["spec"], "source": source}}) == [told]


def test_an_attachment_keeps_its_specification() -> None:
    assert attachments.stored(ATTACHMENT) == {**ATTACHMENT, "status": {"attached": False}}
    wrong = attachments.update(ATTACHMENT, {"spec": {**ATTACHMENT["spec"], "nodeName": "m"}})[1]
    shown = '{"Attacher":"a.b","Source":{"PersistentVolumeName":"pv","InlineVolumeSpec":null},"NodeName":"m"}'
    assert wrong == [f"spec: Invalid value: {shown}: field is immutable"]


def test_a_capacity_keeps_its_class_and_is_not_negative() -> None:
    assert capacities.wrong({"storageClassName": "s", "capacity": "-1"}) == [
        'capacity: Invalid value: "-1": must be greater than or equal to 0'
    ]
    assert capacities.update({"storageClassName": "s"}, {"storageClassName": "t"})[1] == [
        'storageClassName: Invalid value: "t": field is immutable'
    ]


def test_a_volume_is_retained_and_a_file_system_by_default() -> None:
    spec = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"}}
    stored = volumes.stored({"spec": spec})["spec"]
    assert (stored["persistentVolumeReclaimPolicy"], stored["volumeMode"]) == ("Retain", "Filesystem")
    assert volumes.wrong({"spec": {**spec, "hostPath": None}}) == ["spec: Required value: must specify a volume type"]


def test_a_claim_needs_modes_and_an_amount() -> None:
    wrong = claims.wrong({"spec": {}})
    assert [w.split(":")[0] for w in wrong] == ["spec.accessModes", "spec.resources[storage]"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            {"hostPath": {"path": "/y"}},
            "spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation",
        ),
        ({"volumeMode": "Block"}, 'volumeMode: Invalid value: "Block": field is immutable'),
        ({"persistentVolumeReclaimPolicy": "Delete"}, None),
        ({"capacity": {"storage": "2Gi"}}, None),
        ({"claimRef": {"namespace": "a", "name": "b"}}, None),
    ],
)
def test_a_volumes_source_stays(change: dict[str, Any], told: str | None) -> None:
    spec = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"}}
    wrong = volumes.update({"spec": spec}, {"spec": {**spec, **change}})[1]
    assert [w.partition("\n")[0] for w in wrong] == ([told] if told else [])


CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": "c"}


@pytest.mark.parametrize(
    ("phase", "change", "good"),
    [
        ("Pending", {"volumeName": "v"}, True),
        ("Pending", {"resources": {"requests": {"storage": "2Gi"}}}, False),
        ("Bound", {"resources": {"requests": {"storage": "2Gi"}}}, True),
        ("Bound", {"resources": {"requests": {"storage": "1Mi"}}}, False),
        ("Bound", {"volumeAttributesClassName": "fast"}, True),
        ("Bound", {"accessModes": ["ReadOnlyMany"]}, False),
        ("Bound", {"storageClassName": "d"}, False),
    ],
)
def test_a_claim_grows_once_it_is_bound_and_changes_no_further(phase: str, change: dict[str, Any], good: bool) -> None:
    before, _ = claims.create({"spec": CLAIM})
    before["status"] = {"phase": phase, "capacity": {"storage": "1Gi"}}
    after = claims.decoded({**before, "spec": {**before["spec"], **change}})
    wrong = claims.strategy.validate_update(after, before)
    assert (wrong == []) is good, wrong


# --- sources of volumes -------------------------------------------------------------------------------------------------------------

_QUOBYTE = "must be a host:port pair or multiple pairs separated by commas"
_BLOB = "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"
_IQN = "iqn.2012-01.com.x:y"


def of(key: str, source: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {"spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], key: source, **spec}}


@pytest.mark.parametrize(
    ("key", "source", "told"),
    [
        ("awsElasticBlockStore", {}, ["volumeID: Required value"]),
        (
            "gcePersistentDisk",
            {"pdName": "x", "partition": 256},
            ["partition: Invalid value: 256: must be between 1 and 255, inclusive"],
        ),
        ("azureDisk", {}, ["diskName: Required value", "diskURI: Required value"]),
        ("azureDisk", {"diskName": "d", "diskURI": "u"}, [f'diskURI: Unsupported value: "u": supported values: "{_BLOB}"']),
        ("azureFile", {"secretName": "s", "shareName": "x", "secretNamespace": ""}, ["secretNamespace: Required value"]),
        ("cephfs", {}, ["monitors: Required value"]),
        ("cinder", {"volumeID": "x", "secretRef": {"name": "a"}}, ["secretRef.namespace: Required value"]),
        ("fc", {"targetWWNs": ["a"]}, ["lun: Required value: lun is required if targetWWNs is specified"]),
        (
            "flexVolume",
            {"driver": "a/b", "options": {"kubernetes.io/x": "y"}},
            ['options[kubernetes.io/x]: Invalid value: "kubernetes.io/x": kubernetes.io and k8s.io namespaces are reserved'],
        ),
        ("flocker", {"datasetName": "a/b"}, ["datasetName: Invalid value: \"a/b\": must not contain '/'"]),
        (
            "glusterfs",
            {"endpoints": "e", "path": "p", "endpointsNamespace": ""},
            ['endpointsNamespace: Invalid value: "": if the endpointnamespace is set, it must be a valid namespace name'],
        ),
        ("iscsi", {"targetPortal": "a", "iqn": "x", "lun": 0}, ['iqn: Invalid value: "x": must be valid format']),
        (
            "iscsi",
            {"targetPortal": "a", "iqn": _IQN, "lun": 0, "initiatorName": "bad"},
            ['initiatorname: Invalid value: "bad": must be valid format'],
        ),
        (
            "iscsi",
            {"targetPortal": "a" * 63, "iqn": _IQN, "lun": 0, "initiatorName": _IQN},
            [
                f'targetportal: Invalid value: "{"a" * 63}": Total length of <volume name>:<iscsi.targetPortal> must be under 64 '
                "characters if iscsi.initiatorName is specified."
            ],
        ),
        ("photonPersistentDisk", {}, ["pdID: Required value"]),
        ("portworxVolume", {}, ["volumeID: Required value"]),
        ("quobyte", {"registry": "a", "volume": "v"}, [f'registry: Invalid value: "a": {_QUOBYTE}']),
        ("rbd", {}, ["monitors: Required value", "image: Required value"]),
        ("scaleIO", {}, ["gateway: Required value", "system: Required value", "volumeName: Required value"]),
        ("storageos", {"volumeName": "a", "secretRef": {"name": "s"}}, ["secretRef.namespace: Required value"]),
        ("vsphereVolume", {}, ["volumePath: Required value"]),
        ("local", {"path": "/a/../b"}, ["path: Invalid value: \"/a/../b\": must not contain '..'"]),
    ],
)
def test_a_volume_says_where_it_is(key: str, source: dict[str, Any], told: list[str]) -> None:
    affinity = {"required": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "Exists"}]}]}}
    more = {"nodeAffinity": affinity} if key == "local" else {}
    assert volumes.wrong(of(key, source, **more)) == [f"spec.{key}.{one}" for one in told]


def test_what_nobody_should_use_any_more_brings_warnings() -> None:
    made = volumes.create(of("storageos", {"volumeName": "a"}, persistentVolumeReclaimPolicy="Recycle"))[0]
    made["metadata"]["annotations"] = {"volume.beta.kubernetes.io/mount-options": "ro"}
    assert volumes.strategy.warnings(made, None) == [
        'metadata.annotations[volume.beta.kubernetes.io/mount-options]: deprecated since v1.31; use "mountOptions" attribute instead',
        "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use "
        "dynamic provisioning.",
        "spec.storageOS: deprecated in v1.22, non-functional in v1.25+",
    ]


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (
            {
                "allocatedResources": {"storage": "2Gi", "example.com/x": "1"},
                "allocatedResourceStatuses": {"storage": "NodeResizePending"},
            },
            [],
        ),
        ({"capacity": {"storage": "-1"}}, ["status.capacity[storage]: Invalid value: -1: must be a valid resource quantity"]),
        (
            {"allocatedResources": {"cpu": "1"}},
            ['status.allocatedResources: Unsupported value: "cpu": supported values: "storage"'],
        ),
        (
            {"allocatedResourceStatuses": {"storage": "Bogus"}},
            [
                'status.allocatedResourceStatus: Unsupported value: "Bogus": supported values: "ControllerResizeInProgress", '
                '"ControllerResizeInfeasible", "NodeResizeInProgress", "NodeResizeInfeasible", "NodeResizePending"'
            ],
        ),
    ],
)
def test_a_claims_status_tells_of_storage(status: dict[str, Any], told: list[str]) -> None:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    assert claims.write_status({"spec": spec}, status)[1] == told


def test_a_driver_cannot_keep_pods_away_yet() -> None:
    assert "preventPodSchedulingIfMissing" not in drivers.stored({"spec": {"preventPodSchedulingIfMissing": True}})["spec"]
