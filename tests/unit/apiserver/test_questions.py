"""Questions to schedulers: the hub passes them on to whoever waits, and shows the resources only then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from pilothouse.apiserver.questions import PATH
from pilothouse.clock import VirtualClock

from .cluster_kit import acting, cluster
from .kit import Caller

DECISION = "/apis/pilothouse.dev/v1alpha1/namespaces/default/schedulingdecisions/p"
WHAT_IFS = "/apis/pilothouse.dev/v1alpha1/whatifs"


@asynccontextmanager
async def scheduler(call: Caller, *names: str) -> AsyncIterator[list[dict[str, Any]]]:
    """One that answers every question with what it was asked; the list is of all questions."""
    heard: list[dict[str, Any]] = []

    async def work() -> None:
        answer = None
        while True:
            got = await call("POST", PATH, {"schedulerNames": list(names), "answer": answer})
            question, answer = got.body["question"], None
            if question is not None:
                heard.append(question)
                kind = {"decisions": "SchedulingDecisionList"}.get(question["kind"], "SchedulingDecision")
                body = {"kind": kind, "apiVersion": "pilothouse.dev/v1alpha1", "metadata": {"name": question.get("name", "")}}
                status = {"result": "Scheduled", "nodeName": names[0]}
                more = (
                    {"items": [{**body, "metadata": {"name": "p"}, "status": status}]} if question["kind"] == "decisions" else {}
                )
                code = 201 if question["kind"] == "whatif" else 200
                answer = {"id": question["id"], "code": code, "body": {**body, **more, "status": status}}

    task = asyncio.create_task(work())
    while not call.server.questions.scheduler_names.issuperset(names):
        await asyncio.sleep(0)
    try:
        yield heard
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_without_a_scheduler_nothing_shows() -> None:
    async with cluster() as call:
        assert (await call("GET", DECISION)).code == 404
        assert "pilothouse.dev" not in str((await call("GET", "/apis")).body)
        assert PATH not in (await call("GET", "/")).body["paths"]


async def test_a_question_is_passed_on_and_answered() -> None:
    async with cluster() as call, scheduler(call, "default-scheduler") as heard:
        got = await call("GET", DECISION)
        assert got.code == 200 and got.body["status"]["nodeName"] == "default-scheduler"
        assert heard[0] == {"kind": "decision", "namespace": "default", "name": "p", "id": 1}
        assert "pilothouse.dev" in str((await call("GET", "/apis")).body)
        assert (await call("GET", "/openapi/v2")).code == 200
        assert (await call("GET", "/openapi/v3/apis/pilothouse.dev/v1alpha1")).code == 200


async def test_the_scheduler_that_the_pod_names_is_asked() -> None:
    async with cluster() as call, scheduler(call, "default-scheduler"), scheduler(call, "mine") as heard:
        pod = {"metadata": {"name": "p"}, "spec": {"schedulerName": "mine", "containers": [{"name": "c", "image": "i"}]}}
        await call("POST", "/api/v1/namespaces/default/pods", pod)
        assert (await call("GET", DECISION)).body["status"]["nodeName"] == "mine" and len(heard) == 1


async def test_lists_are_those_of_all_schedulers_and_can_be_tables() -> None:
    async with cluster() as call, scheduler(call, "default-scheduler"), scheduler(call, "mine"):
        path, table = DECISION.rpartition("/")[0], "application/json;as=Table;g=meta.k8s.io;v=v1"
        assert len((await call("GET", path)).body["items"]) == 2
        rows = (await call("GET", path, accept=table)).body["rows"]
        assert [row["cells"][1:3] for row in rows] == [["Scheduled", "default-scheduler"], ["Scheduled", "mine"]]
        assert (await call("GET", path, query={"watch": "true"})).code == 405


async def test_a_what_if_is_a_create_that_stores_nothing() -> None:
    async with cluster() as call, scheduler(call, "default-scheduler") as heard:
        body = {"kind": "WhatIf", "apiVersion": "pilothouse.dev/v1alpha1", "spec": {"drain": ["n"]}}
        assert (await call("POST", WHAT_IFS, body)).code == 201
        assert heard[0]["object"]["spec"] == {"drain": ["n"]}
        assert (await call("POST", WHAT_IFS, {"spec": {"drain": "n"}})).code == 422
        assert (await call("GET", WHAT_IFS)).code == 405


async def test_only_who_may_reads_decisions_and_hears_questions() -> None:
    async with cluster() as call, scheduler(call, "default-scheduler"):
        jane = acting(call, "jane")
        assert (await jane("GET", DECISION)).code == 403
        assert (await jane("POST", WHAT_IFS, {})).code == 403
        assert (await jane("POST", PATH, {"schedulerNames": ["x"]})).code == 403
        assert (await call("GET", PATH)).code == 405
        assert (await call("POST", PATH, {})).code == 400


async def test_a_scheduler_that_has_gone_is_forgotten() -> None:
    clock = VirtualClock()
    async with cluster(clock=clock) as call:
        async with scheduler(call, "default-scheduler"):
            pass
        await clock.advance(120)
        assert (await call("GET", DECISION)).code == 404
        assert "pilothouse.dev" not in str((await call("GET", "/apis")).body)
