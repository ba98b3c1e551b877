"""DefaultBinder: the decision becomes true by a POST to the pod's binding subresource."""

from __future__ import annotations

from pilothouse.client.interface import Transport
from pilothouse.scheduler.framework import Code, Cycle, Plugin, Status


class DefaultBinder(Plugin):
    name = "DefaultBinder"

    async def bind(self, transport: Transport, cycle: Cycle, node_name: str) -> Status | None:
        pod = cycle.pod
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid},
            "target": {"kind": "Node", "name": node_name},
        }
        answer = await transport.request("POST", f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}/binding", body=binding)
        if answer.status < 300:
            return None
        message = answer.body.get("message") if isinstance(answer.body, dict) else str(answer.body)
        return Status(Code.ERROR, (message or f"binding answered {answer.status}",))
