"""Volumes that wait for their consumer, with the documentation's local storage: the scheduler chooses, writes, waits and binds."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from test_main_job import kubectl

from pilothouse.testing.plugin import TestCluster

Obj = dict[str, Any]

MANIFESTS = """
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: local-storage}
provisioner: kubernetes.io/no-provisioner
volumeBindingMode: WaitForFirstConsumer
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: example-pv}
spec:
  capacity: {storage: 100Gi}
  volumeMode: Filesystem
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Delete
  storageClassName: local-storage
  local: {path: /mnt/disks/ssd1}
  nodeAffinity:
    required:
      nodeSelectorTerms:
        - matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [node-1]}]
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec:
  accessModes: [ReadWriteOnce]
  storageClassName: local-storage
  resources: {requests: {storage: 10Gi}}
---
apiVersion: v1
kind: Pod
metadata: {name: app}
spec:
  containers: [{name: c, image: app:1, volumeMounts: [{name: data, mountPath: /data}]}]
  volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]
"""


async def until(cluster: TestCluster, path: str, wanted: Callable[[Obj], bool]) -> Obj:
    """The object, once it is as wanted."""
    for _ in range(600):
        answer = await cluster.admin.request("GET", path)
        if answer.status == 200 and wanted(answer.body):
            return answer.body
        await asyncio.sleep(0.02)
    raise AssertionError(f"{path} did not become as wanted: {answer.body}")


async def apply(cluster: TestCluster, text: str) -> None:
    manifest = cluster.kubeconfig.parent / "manifest.yaml"
    manifest.write_text(text)
    await kubectl(cluster, "apply", "-f", str(manifest))


async def test_a_local_volume_takes_its_pod_to_its_node(cluster: TestCluster) -> None:
    await apply(cluster, MANIFESTS)
    await kubectl(cluster, "wait", "pod/app", "--for=condition=Ready", "--timeout=30s")
    shown = json.loads(await kubectl(cluster, "get", "pod", "app", "-o", "json"))
    assert shown["spec"]["nodeName"] == "node-1"
    bound = json.loads(await kubectl(cluster, "get", "pv", "example-pv", "-o", "json"))
    assert (bound["spec"]["claimRef"]["name"], bound["status"]["phase"]) == ("data", "Bound")
    events = json.loads(await kubectl(cluster, "get", "events", "-o", "json"))["items"]
    assert not [e for e in events if e["reason"] == "FailedScheduling" and "error" in e["message"]]


async def test_a_pod_waits_for_its_claim_and_its_volume(cluster: TestCluster) -> None:
    await apply(cluster, MANIFESTS.split("---")[-1])
    refused = await until(cluster, "/api/v1/namespaces/default/pods/app", lambda o: bool(o["status"].get("conditions")))
    told = refused["status"]["conditions"][0]["message"]
    assert refused["status"]["conditions"][0]["observedGeneration"] == refused["metadata"]["generation"]
    assert told.startswith('0/2 nodes are available: persistentvolumeclaim "data" not found.')
    made = {"metadata": {"name": "made"}, "provisioner": "csi.example.com", "volumeBindingMode": "WaitForFirstConsumer"}
    await cluster.admin.request("POST", "/apis/storage.k8s.io/v1/storageclasses", body=made)
    await apply(cluster, MANIFESTS.split("---")[2].replace("local-storage", "made"))
    key = "volume.kubernetes.io/selected-node"
    path = "/api/v1/namespaces/default/persistentvolumeclaims/data"
    asked = await until(cluster, path, lambda o: key in (o["metadata"].get("annotations") or {}))
    node = asked["metadata"]["annotations"][key]
    waiting = await until(cluster, "/api/v1/namespaces/default/pods/app", lambda o: "nominatedNodeName" in o["status"])
    assert waiting["status"]["nominatedNodeName"] == node and "nodeName" not in waiting["spec"]
    claim = {"kind": "PersistentVolumeClaim", "namespace": "default", "name": "data", "uid": asked["metadata"]["uid"]}
    volume = {"metadata": {"name": "fresh", "annotations": {"pv.kubernetes.io/provisioned-by": "csi.example.com"}},
              "spec": {"capacity": {"storage": "10Gi"}, "accessModes": ["ReadWriteOnce"], "claimRef": claim,
                       "storageClassName": "made", "csi": {"driver": "csi.example.com", "volumeHandle": "h"}}}  # fmt: skip
    assert (await cluster.admin.request("POST", "/api/v1/persistentvolumes", body=volume)).status == 201
    running = await until(cluster, "/api/v1/namespaces/default/pods/app", lambda o: "nodeName" in o["spec"])
    assert running["spec"]["nodeName"] == node and "nominatedNodeName" not in running["status"]


async def test_a_pod_whose_volume_cannot_be_bound_expects_its_node_no_more(cluster: TestCluster) -> None:
    """Whoever provisions may take the chosen node back; the pod then looks for another."""
    made = {"metadata": {"name": "made"}, "provisioner": "csi.example.com", "volumeBindingMode": "WaitForFirstConsumer"}
    await cluster.admin.request("POST", "/apis/storage.k8s.io/v1/storageclasses", body=made)
    await apply(cluster, "---".join(MANIFESTS.split("---")[2:]).replace("local-storage", "made"))
    pod = "/api/v1/namespaces/default/pods/app"
    await until(cluster, pod, lambda o: "nominatedNodeName" in o["status"])
    path, key = "/api/v1/namespaces/default/persistentvolumeclaims/data", "volume.kubernetes.io/selected-node"
    await until(cluster, path, lambda o: key in (o["metadata"].get("annotations") or {}))
    back = {"metadata": {"annotations": {"volume.kubernetes.io/selected-node": None}}}
    answer = await cluster.admin.request("PATCH", path, body=back, content_type="application/merge-patch+json")
    assert answer.status == 200
    refused = await until(
        cluster, pod, lambda o: any(c.get("reason") == "SchedulerError" for c in o["status"].get("conditions") or ())
    )
    told = next(c for c in refused["status"]["conditions"] if c["type"] == "PodScheduled")
    assert told["message"] == 'binding volumes: selectedNode annotation reset for PVC "data"'
    await until(cluster, path, lambda o: key in (o["metadata"].get("annotations") or {}))
