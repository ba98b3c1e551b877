"""What is wrong with a pod, where, and in which order it is told."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pods_and_owners import PODS, Obj, container, created, errors, pod

C = "spec.containers[0]"
LABEL = re.compile(r"a lowercase RFC 1123 label .*")

#: Fields of the container, and the errors.
CONTAINERS: list[tuple[Obj, list[str]]] = [
    ({"image": ""}, [f"{C}.image: Required value"]),
    ({"image": " x"}, [f'{C}.image: Invalid value: " x": must not have leading or trailing whitespace']),
    ({"imagePullPolicy": "No"}, [f'{C}.imagePullPolicy: Unsupported value: "No": supported values: "Always", "IfNotPresent", "Never"']),
    ({"ports": [{"containerPort": 0}]}, [f"{C}.ports[0].containerPort: Required value"]),
    ({"ports": [{"containerPort": 70000}]}, [f"{C}.ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive"]),
    ({"ports": [{"containerPort": 1, "name": "x"}, {"containerPort": 2, "name": "x"}]}, [f'{C}.ports[1].name: Duplicate value: "x"']),
    ({"ports": [{"containerPort": 1, "hostPort": 9}, {"containerPort": 2, "hostPort": 9}]}, [f'{C}.ports[1].hostPort: Duplicate value: "TCP//9"']),
    ({"env": [{"value": "x"}]}, [f"{C}.env[0].name: Required value"]),
    ({"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "nope"}}}]},
     [f'{C}.env[0].valueFrom.fieldRef.fieldPath: Invalid value: "nope": error converting fieldPath: field label not supported: nope']),
    ({"env": [{"name": "A", "valueFrom": {}}]},
     [f'{C}.env[0].valueFrom: Invalid value: "": must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or '
      "`fileKeyRef`"]),
    ({"envFrom": [{}]}, [f'{C}.envFrom[0]: Invalid value: "": must specify one of: `configMapRef` or `secretRef`']),
    ({"volumeMounts": [{}]}, [f"{C}.volumeMounts[0].name: Required value", f'{C}.volumeMounts[0].name: Not found: ""',
                              f"{C}.volumeMounts[0].mountPath: Required value"]),
    ({"livenessProbe": {}}, [f"{C}.livenessProbe: Required value: must specify a handler type"]),
    ({"livenessProbe": {"exec": {"command": ["a"]}, "tcpSocket": {"port": 1}}},
     [f"{C}.livenessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type"]),
    ({"livenessProbe": {"exec": {"command": ["a"]}, "successThreshold": 2}}, [f"{C}.livenessProbe.successThreshold: Invalid value: 2: must be 1"]),
    ({"readinessProbe": {"exec": {"command": ["a"]}, "terminationGracePeriodSeconds": 3}},
     [f"{C}.readinessProbe.terminationGracePeriodSeconds: Invalid value: 3: must not be set for readinessProbes"]),
    ({"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}},
     [f'{C}.resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1']),
    ({"resources": {"requests": {"cpu": "-1"}}}, [f'{C}.resources.requests[cpu]: Invalid value: "-1": must be greater than or equal to 0']),
    ({"resources": {"requests": {"example.com/x": "1"}}}, [f"{C}.resources.limits: Required value: Limit must be set for non overcommitable resources"]),
    ({"resources": {"limits": {"hugepages-2Mi": "2Mi"}}}, [f"{C}.resources: Forbidden: HugePages require cpu or memory"]),
    ({"resources": {"requests": {"gpu": "1"}}},
     [f'{C}.resources.requests[gpu]: Invalid value: "gpu": must be a standard resource type or fully qualified',
      f'{C}.resources.requests[gpu]: Invalid value: "gpu": must be a standard resource for containers']),
    ({"resources": {"claims": [{"name": "x"}]}},
     [f'{C}.resources.claims[0]: Not found: "x": must be one of the names in pod.spec.resourceClaims which is empty']),
    ({"securityContext": {"privileged": True}}, [f"{C}.securityContext.privileged: Forbidden: disallowed by cluster policy"]),
    ({"securityContext": {"procMount": "Unmasked"}},
     [f'{C}.securityContext.procMount: Invalid value: "Unmasked": `hostUsers` must be false to use `Unmasked`']),
    ({"securityContext": {"seccompProfile": {"type": "Localhost"}}},
     [f"{C}.securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost"]),
    ({"restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "In", "values": [1]}}]},
     [f"{C}.restartPolicy: Required value: must specify restartPolicy when restart rules are used"]),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "wanted"), CONTAINERS)
def test_containers_are_checked(fields: Obj, wanted: list[str]) -> None:
    assert errors(PODS, pod(container(**fields))) == wanted


#: Fields of the spec, and the errors.
SPECS: list[tuple[Obj, list[str]]] = [
    ({"containers": []}, ["spec.containers: Required value"]),
    ({"containers": [container(), container()]}, ['spec.containers[1].name: Duplicate value: "c"']),
    ({"initContainers": [{"name": "i", "image": "x", "livenessProbe": {"tcpSocket": {"port": 1}}}]},
     ["spec.initContainers[0].livenessProbe: Forbidden: may not be set for init containers without restartPolicy=Always"]),
    ({"ephemeralContainers": [{"name": "e", "image": "x"}]}, ["spec.ephemeralContainers: Forbidden: cannot be set on create"]),
    ({"restartPolicy": "Maybe"}, ['spec.restartPolicy: Unsupported value: "Maybe": supported values: "Always", "OnFailure", "Never"']),
    ({"dnsPolicy": "None"}, ["spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"]),
    ({"dnsConfig": {"nameservers": ["010.0.0.1"]}}, ['spec.dnsConfig.nameservers[0]: Invalid value: "010.0.0.1": must not have leading 0s']),
    ({"subdomain": "a.b"}, ['spec.subdomain: Invalid value: "a.b": must not contain dots']),
    ({"nodeName": "n", "schedulingGates": [{"name": "x"}]}, ["spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared"]),
    ({"activeDeadlineSeconds": 0}, ["spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive"]),
    ({"tolerations": [{"key": "a", "operator": "Exists", "value": "v"}]},
     ['spec.tolerations[0].operator: Invalid value: "v": value must be empty when `operator` is \'Exists\'']),
    ({"tolerations": [{"key": "a", "tolerationSeconds": 1}]},
     ['spec.tolerations[0].effect: Invalid value: "": effect must be \'NoExecute\' when `tolerationSeconds` is set']),
    ({"volumes": [{"name": "v"}, {"name": "v"}]}, ['spec.volumes[1].name: Duplicate value: "v"']),
    ({"volumes": [{"name": "v", "emptyDir": {}, "hostPath": {"path": "/x"}}]}, ["spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type"]),
    ({"volumes": [{"name": "v", "hostPath": {"path": "/x/../y"}}]}, ['spec.volumes[0].hostPath.path: Invalid value: "/x/../y": must not contain \'..\'']),
    ({"volumes": [{"name": "v", "secret": {"secretName": "s", "items": [{"key": "a", "path": "..x"}]}}]},
     ['spec.volumes[0].secret.items[0].path: Invalid value: "..x": must not start with \'..\'']),
    ({"volumes": [{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": 5}}]}}], "serviceAccountName": "d"},
     ["spec.volumes[0].projected.sources[0].serviceAccountToken.expirationSeconds: Invalid value: 5: may not specify a duration less than 10 minutes"]),
    ({"volumes": [{"name": "v", "nfs": {"server": "", "path": "x"}}]},
     ["spec.volumes[0].nfs.server: Required value", 'spec.volumes[0].nfs.path: Invalid value: "x": must be an absolute path']),
    ({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "ScheduleAnyway", "minDomains": 2}]},
     ["spec.topologySpreadConstraints[0].minDomains: Invalid value: 2: can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway"]),
    ({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}}},
     ["spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: Required value: must have at least one node "
      "selector term"]),
    ({"os": {"name": "windows"}, "securityContext": {"runAsUser": 1}}, ["spec.securityContext.runAsUser: Forbidden: cannot be set for a windows pod"]),
    ({"hostUsers": False, "hostPID": True}, ["spec.HostPID: Forbidden: when `hostUsers` is false"]),
    ({"securityContext": {"sysctls": [{"name": "net.x", "value": "1"}]}, "hostNetwork": True},
     ["spec.securityContext.sysctls[0].name: Invalid value: \"net.x\": may not be specified when 'hostNetwork' is true"]),
    ({"hostnameOverride": "a", "setHostnameAsFQDN": True}, ["spec.hostnameOverride: Forbidden: may not be specified when setHostnameAsFQDN is true"]),
    ({"resourceClaims": [{"name": "x"}]},
     ['spec.resourceClaims[0]: Invalid value: {"Name":"x","ResourceClaimName":null,"ResourceClaimTemplateName":null}: must specify one of: '
      "`resourceClaimName`, `resourceClaimTemplateName`"]),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "wanted"), SPECS)
def test_specs_are_checked(fields: Obj, wanted: list[str]) -> None:
    made: Any = pod(**{k: v for k, v in fields.items() if k != "containers"})
    if "containers" in fields:
        made["spec"]["containers"] = fields["containers"]
    assert errors(PODS, made) == wanted


def test_volumes_are_told_before_containers_and_tolerations_last() -> None:
    broken = pod(container(image=""), volumes=[{"name": ""}], tolerations=[{}], dnsPolicy="X")
    fields = [e.field for e in PODS.validate(created(PODS, broken))]
    assert fields == ["spec.volumes[0].name", f"{C}.image", "spec.dnsPolicy", "spec.tolerations[0].operator"]


def test_a_broken_volume_is_not_there_for_its_mounts() -> None:
    broken = pod(container(volumeMounts=[{"name": "v", "mountPath": "/v"}]), volumes=[{"name": "v", "hostPath": {"path": ""}}])
    assert errors(PODS, broken) == ["spec.volumes[0].hostPath.path: Required value", f'{C}.volumeMounts[0].name: Not found: "v"']


def test_a_security_context_is_shown_whole() -> None:
    (message,) = errors(
        PODS, pod(container(securityContext={"allowPrivilegeEscalation": False, "capabilities": {"add": ["CAP_SYS_ADMIN"]}}))
    )
    assert '{"Capabilities":{"Add":["CAP_SYS_ADMIN"],"Drop":null},"Privileged":null' in message
    assert message.endswith("cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN")


def test_claims_of_ephemeral_volumes_are_named_after_the_pod() -> None:
    claim = {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}
    long = pod(metadata={"name": "p" * 250}, volumes=[{"name": "data", "ephemeral": {"volumeClaimTemplate": claim}}])
    (message,) = errors(PODS, long)
    assert message.endswith('-data": must be no more than 253 characters')


def test_tokens_need_a_service_account() -> None:
    volume = {"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}
    wanted = "spec.volumes[0].projected.sources[0].serviceAccountToken: Forbidden: must not be specified when serviceAccountName is not set"
    assert errors(PODS, pod(volumes=[volume])) == [wanted]


@pytest.mark.parametrize(
    ("made", "wanted"),
    [
        (pod(container(env=[{"name": "A", "value": "1"}, {"name": "A", "value": "2"}])),
         'spec.containers[0].env[1]: hides previous definition of "A", which may be dropped when using apply'),
        (pod(container(ports=[{"containerPort": 80}, {"containerPort": 80}])),
         "spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]"),
        (pod(container(resources={"requests": {"memory": "100m"}})),
         'spec.containers[0].resources.requests[memory]: fractional byte value "100m" is invalid, must be an integer'),
        (pod(nodeSelector={"beta.kubernetes.io/os": "linux"}),
         'spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead'),
        (pod(volumes=[{"name": "g", "gitRepo": {"repository": "r"}}]), "spec.volumes[0].gitRepo: deprecated in v1.11, and disabled by default in v1.33+"),
    ],
)  # fmt: skip
def test_doubtful_pods_are_warned_of(made: Obj, wanted: str) -> None:
    assert PODS.warnings(created(PODS, made), None) == [wanted]


@pytest.mark.parametrize(
    ("volume", "wanted"),
    [
        ({"emptyDir": {}}, []),
        (None, ['Not found: "v"']),
        ({"configMap": {"name": "x"}}, ['Invalid value: "v": referenced volume must be of type emptyDir']),
    ],
)
def test_files_of_variables_are_in_a_volume_of_the_pod(volume: Obj | None, wanted: list[str]) -> None:
    env = [{"name": "A", "valueFrom": {"fileKeyRef": {"volumeName": "v", "path": "p", "key": "K"}}}]
    volumes = {} if volume is None else {"volumes": [{"name": "v", **volume}]}
    told = errors(PODS, pod(container(env=env), **volumes))
    assert told == [f"{C}.env[0].valueFrom.fileKeyRef.volumeName: {one}" for one in wanted]
