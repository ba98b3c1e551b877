"""Devices for pods, with the objects of the documentation: allocated, reserved, and given to a pod on the right node."""

from __future__ import annotations

import json

from test_main_job import kubectl
from test_scheduling_volumes import apply, until

from pilothouse.testing.plugin import TestCluster

CLASS_AND_SLICE = """
apiVersion: resource.k8s.io/v1
kind: DeviceClass
metadata: {name: resource.example.com}
spec: {selectors: [{cel: {expression: device.driver == "resource-driver.example.com"}}]}
---
apiVersion: resource.k8s.io/v1
kind: ResourceSlice
metadata: {name: cat-slice}
spec:
  driver: resource-driver.example.com
  nodeName: node-1
  pool: {name: black-cat-pool, generation: 1, resourceSliceCount: 1}
  devices:
    - {name: large-black-cat, attributes: {color: {string: black}, size: {string: large}, cat: {bool: true}}}
"""

CLAIM_AND_POD = """
apiVersion: resource.k8s.io/v1
kind: ResourceClaim
metadata: {name: large-black-cat-claim}
spec:
  devices:
    requests:
      - name: req-0
        exactly:
          deviceClassName: resource.example.com
          selectors:
            - cel:
                expression: |-
                  device.attributes["resource-driver.example.com"].color == "black" &&
                  device.attributes["resource-driver.example.com"].size == "large"
---
apiVersion: v1
kind: Pod
metadata: {name: pod-with-cats}
spec:
  containers: [{name: container0, image: ubuntu:20.04, resources: {claims: [{name: cat-0}]}}]
  resourceClaims: [{name: cat-0, resourceClaimName: large-black-cat-claim}]
"""
CLAIM = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims/large-black-cat-claim"


async def test_a_pod_gets_the_device_that_it_claims(cluster: TestCluster) -> None:
    await apply(cluster, CLASS_AND_SLICE)
    await apply(cluster, CLAIM_AND_POD)
    await kubectl(cluster, "wait", "pod/pod-with-cats", "--for=condition=Ready", "--timeout=30s")
    shown = json.loads(await kubectl(cluster, "get", "resourceclaim", "large-black-cat-claim", "-o", "json"))
    assert shown["metadata"]["finalizers"] == ["resource.kubernetes.io/delete-protection"]
    result = shown["status"]["allocation"]["devices"]["results"][0]
    assert (result["pool"], result["device"], result["request"]) == ("black-cat-pool", "large-black-cat", "req-0")
    assert shown["status"]["reservedFor"][0]["name"] == "pod-with-cats"
    pod = json.loads(await kubectl(cluster, "get", "pod", "pod-with-cats", "-o", "json"))
    assert pod["spec"]["nodeName"] == "node-1"


async def test_a_pod_waits_until_there_is_a_device(cluster: TestCluster) -> None:
    await apply(cluster, CLAIM_AND_POD)
    pod = "/api/v1/namespaces/default/pods/pod-with-cats"
    told = "request req-0: device class resource.example.com does not exist"
    refused = await until(cluster, pod, lambda o: bool(o["status"].get("conditions")))
    assert told in refused["status"]["conditions"][0]["message"]
    await apply(cluster, CLASS_AND_SLICE)
    await until(cluster, pod, lambda o: o["spec"].get("nodeName") == "node-1")
    await until(cluster, CLAIM, lambda o: "allocation" in o.get("status", {}))


async def test_a_pod_whose_claim_is_missing_is_held_without_a_word(cluster: TestCluster) -> None:
    claim, pod = CLAIM_AND_POD.split("---")
    await apply(cluster, CLASS_AND_SLICE + "---" + pod)
    await apply(
        cluster, pod.replace("pod-with-cats", "plain").split("  resourceClaims")[0].replace("{claims: [{name: cat-0}]}", "{}")
    )
    await kubectl(cluster, "wait", "pod/plain", "--for=condition=Ready", "--timeout=30s")
    waiting = json.loads(await kubectl(cluster, "get", "pod", "pod-with-cats", "-o", "json"))
    assert "conditions" not in waiting["status"] and "nodeName" not in waiting["spec"]
    await apply(cluster, claim)
    await kubectl(cluster, "wait", "pod/pod-with-cats", "--for=condition=Ready", "--timeout=30s")


async def test_an_extended_resource_becomes_a_claim_of_the_pod(cluster: TestCluster) -> None:
    named = "spec: {extendedResourceName: example.com/cat, selectors:"
    await apply(cluster, CLASS_AND_SLICE.replace("spec: {selectors:", named))
    container = "{name: c, image: app:1, resources: {limits: {example.com/cat: 1}}}"
    await apply(cluster, f"apiVersion: v1\nkind: Pod\nmetadata: {{name: owner}}\nspec: {{containers: [{container}]}}\n")
    await kubectl(cluster, "wait", "pod/owner", "--for=condition=Ready", "--timeout=30s")
    pod = json.loads(await kubectl(cluster, "get", "pod", "owner", "-o", "json"))
    told = pod["status"]["extendedResourceClaimStatus"]
    mapping = {"containerName": "c", "resourceName": "example.com/cat", "requestName": "container-0-request-0"}
    assert pod["spec"]["nodeName"] == "node-1" and told["requestMappings"] == [mapping]
    claim = json.loads(await kubectl(cluster, "get", "resourceclaim", told["resourceClaimName"], "-o", "json"))
    assert claim["metadata"]["annotations"] == {"resource.kubernetes.io/extended-resource-claim": "true"}
    assert claim["status"]["allocation"]["devices"]["results"][0]["device"] == "large-black-cat"
    assert claim["status"]["reservedFor"][0]["name"] == "owner"
    assert claim["metadata"]["ownerReferences"][0]["uid"] == pod["metadata"]["uid"]


async def test_a_template_gives_each_pod_a_claim_of_its_own(cluster: TestCluster) -> None:
    template = CLAIM_AND_POD.split("---")[0].replace("kind: ResourceClaim", "kind: ResourceClaimTemplate")
    head, spec = template.split("spec:\n", 1)
    nested = "spec:\n  spec:\n" + "".join(f"  {line}\n" for line in spec.splitlines())
    pod = CLAIM_AND_POD.split("---")[1].replace("resourceClaimName:", "resourceClaimTemplateName:")
    await apply(cluster, CLASS_AND_SLICE + "---\n" + head + nested)
    await apply(cluster, pod)
    await kubectl(cluster, "wait", "pod/pod-with-cats", "--for=condition=Ready", "--timeout=30s")
    shown = json.loads(await kubectl(cluster, "get", "pod", "pod-with-cats", "-o", "json"))
    name = shown["status"]["resourceClaimStatuses"][0]["resourceClaimName"]
    claim = json.loads(await kubectl(cluster, "get", "resourceclaim", name, "-o", "json"))
    assert claim["status"]["reservedFor"][0]["uid"] == shown["metadata"]["uid"]
    events = json.loads(await kubectl(cluster, "get", "events", "-o", "json"))["items"]
    assert not [e for e in events if e["reason"] == "FailedScheduling"]
