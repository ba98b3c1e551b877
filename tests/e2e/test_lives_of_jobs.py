"""With kubectl alone: the lives of Jobs and CronJobs, as their pages tell them. How long a pod runs and how it ends are annotations."""

from __future__ import annotations

import json
from typing import Any

from live_cluster import ON_SQLITE, Kubectl, wait_for

pytestmark = ON_SQLITE


def template(seconds: float | None = 0.2, code: int = 0) -> dict[str, Any]:
    """Of pods that run for so long (None: for ever) and end with the code."""
    notes = {} if seconds is None else {"pilothouse.dev/run-for": str(seconds), "pilothouse.dev/exit-code": str(code)}
    return {"metadata": {"annotations": notes}, "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "pi"}]}}


def start(kubectl: Kubectl, name: str, of: dict[str, Any], **spec: Any) -> str:
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": {"template": of, **spec}}
    kubectl("apply", "-f", "-", stdin=json.dumps(job))
    return f"job/{name}"


def ended(kubectl: Kubectl, what: str, how: str) -> dict[str, Any]:
    """The status of a Job once it has the condition."""
    kubectl("wait", what, f"--for=condition={how}", "--timeout=30s")
    status: dict[str, Any] = json.loads(kubectl.path(what, ".status"))
    return status


def reason(status: dict[str, Any], type: str) -> str:
    return str(next(c["reason"] for c in status["conditions"] if c["type"] == type))


def items(kubectl: Kubectl, what: str, path: str, *more: str) -> list[str]:
    return kubectl("get", what, "-o", f"jsonpath={{.items[*]{path}}}", *more).split()


def names(kubectl: Kubectl, what: str, *more: str) -> list[str]:
    return sorted(items(kubectl, what, ".metadata.name", *more))


def test_a_job_runs_to_completion_and_its_pods_stay_until_it_goes(kubectl: Kubectl) -> None:
    what = start(kubectl, "pi", template())
    status = ended(kubectl, what, "Complete")
    assert status["succeeded"] == 1 and reason(status, "Complete") == reason(status, "SuccessCriteriaMet") == "CompletionsReached"
    assert kubectl("get", what, "--no-headers").split()[:3] == ["pi", "Complete", "1/1"]
    told = kubectl("describe", what)
    assert "0 Active (0 Ready) / 1 Succeeded / 0 Failed" in told and "SuccessfulCreate" in told and "Job completed" in told
    labels = {"batch.kubernetes.io/job-name": "pi", "job-name": "pi"}
    of_pod = json.loads(kubectl("get", "pods", "-o", "jsonpath={.items[0].metadata}"))
    assert labels.items() <= of_pod["labels"].items() and "finalizers" not in of_pod
    assert kubectl("get", "pods", "--selector=batch.kubernetes.io/job-name=pi", "--no-headers").split()[1:3] == [
        "0/1",
        "Completed",
    ]
    kubectl("delete", what)
    wait_for(lambda: names(kubectl, "pods") == [], "its pods to go")


def test_a_fixed_number_of_completions_goes_in_parallel_and_parallelism_changes(kubectl: Kubectl) -> None:
    what = start(kubectl, "many", template(None), completions=6, parallelism=2)
    kubectl("wait", what, "--for=jsonpath={.status.ready}=2", "--timeout=30s")
    kubectl("patch", what, "-p", '{"spec":{"parallelism":4}}')
    kubectl("wait", what, "--for=jsonpath={.status.ready}=4", "--timeout=30s")
    kubectl("patch", what, "-p", '{"spec":{"parallelism":0}}')
    wait_for(lambda: names(kubectl, "pods") == [], "no pods")
    refused = kubectl("patch", what, "-p", '{"spec":{"completions":7}}', code=1)
    assert "spec.completions: Invalid value: 7: field is immutable" in refused
    kubectl("delete", what)
    status = ended(kubectl, start(kubectl, "quick", template(), completions=5, parallelism=3), "Complete")
    assert status["succeeded"] == 5 and "failed" not in status


def test_a_work_queue_is_done_when_one_succeeded_and_all_have_ended(kubectl: Kubectl) -> None:
    status = ended(kubectl, start(kubectl, "queue", template(), parallelism=3), "Complete")
    assert 1 <= status["succeeded"] <= 3 and status.get("active", 0) == 0


def test_an_indexed_job_gives_each_pod_its_number_and_scales(kubectl: Kubectl) -> None:
    of = template(None)
    what = start(kubectl, "indexed", of, completions=3, parallelism=3, completionMode="Indexed")
    kubectl("wait", what, "--for=jsonpath={.status.ready}=3", "--timeout=30s")
    assert sorted(items(kubectl, "pods", ".spec.hostname")) == ["indexed-0", "indexed-1", "indexed-2"]
    assert sorted(items(kubectl, "pods", ".metadata.labels.batch\\.kubernetes\\.io/job-completion-index")) == ["0", "1", "2"]
    variable = json.loads(kubectl("get", "pods", "-o", "jsonpath={.items[0].spec.containers[0].env[0]}"))
    assert variable["name"] == "JOB_COMPLETION_INDEX"
    assert "job-completion-index" in variable["valueFrom"]["fieldRef"]["fieldPath"]
    kubectl("patch", what, "-p", '{"spec":{"completions":2,"parallelism":2}}')
    wait_for(lambda: sorted(items(kubectl, "pods", ".spec.hostname")) == ["indexed-0", "indexed-1"], "the last index to go")
    status = ended(kubectl, start(kubectl, "short", template(), completions=3, completionMode="Indexed"), "Complete")
    assert status["completedIndexes"] == "0-2"


def test_a_job_gives_up_by_its_limits(kubectl: Kubectl) -> None:
    tried = start(kubectl, "tried", template(code=1), backoffLimit=0)
    late = start(kubectl, "late", template(None), activeDeadlineSeconds=1)
    by_index = start(
        kubectl, "by-index", template(code=1), completions=2, parallelism=2, completionMode="Indexed", backoffLimitPerIndex=0
    )
    status = ended(kubectl, tried, "Failed")
    assert reason(status, "Failed") == "BackoffLimitExceeded" and status["failed"] == 1
    assert "Warning  BackoffLimitExceeded" in kubectl("describe", tried)
    status = ended(kubectl, by_index, "Failed")
    assert reason(status, "Failed") == "FailedIndexes" and status["failedIndexes"] == "0,1" and status["failed"] == 2
    status = ended(kubectl, late, "Failed")
    assert reason(status, "Failed") == "DeadlineExceeded" and "active" not in status
    assert names(kubectl, "pods", "-l", "job-name=late") == []


def test_failed_pods_are_counted_ignored_or_fatal_as_the_policy_says(kubectl: Kubectl) -> None:
    fatal = [{"action": "FailJob", "onExitCodes": {"containerName": "c", "operator": "In", "values": [42]}}]
    what = start(kubectl, "fatal", template(code=42), backoffLimit=6, podFailurePolicy={"rules": fatal})
    status = ended(kubectl, what, "Failed")
    assert reason(status, "Failed") == "PodFailurePolicy" and status["failed"] == 1
    message = next(c["message"] for c in status["conditions"] if c["type"] == "Failed")
    assert "failed with exit code 42 matching FailJob rule at index 0" in message

    # A pod that is evicted is no failure of the job's.
    ignored = [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]
    what = start(kubectl, "evicted", template(None), backoffLimit=0, podFailurePolicy={"rules": ignored})
    kubectl("wait", what, "--for=jsonpath={.status.ready}=1", "--timeout=30s")
    victim = names(kubectl, "pods", "-l", "job-name=evicted")[0]
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": victim}}
    path = f"/api/v1/namespaces/{kubectl.namespace}/pods/{victim}/eviction"
    kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction))
    kubectl("wait", f"pod/{victim}", "--for=delete", "--timeout=30s")  # it is counted: its finalizer is gone
    assert kubectl.path(what, ".status.conditions") == "" and kubectl.path(what, ".status.failed") in ("", "0")


def test_a_job_succeeds_as_soon_as_its_policy_says_so(kubectl: Kubectl) -> None:
    rules = {"rules": [{"succeededIndexes": "0", "succeededCount": 1}]}
    what = start(kubectl, "leader", template(None), completions=2, parallelism=2, completionMode="Indexed", successPolicy=rules)
    kubectl("wait", what, "--for=jsonpath={.status.ready}=2", "--timeout=30s")
    leader = names(kubectl, "pods", "-l", "batch.kubernetes.io/job-completion-index=0")[0]
    kubectl("annotate", "pod", leader, "pilothouse.dev/run-for=0.1")
    status = ended(kubectl, what, "Complete")
    assert status["completedIndexes"] == "0" and reason(status, "SuccessCriteriaMet") == "SuccessPolicy"
    wait_for(lambda: names(kubectl, "pods") == [leader], "the others to be ended")


def test_a_job_is_suspended_and_resumed(kubectl: Kubectl) -> None:
    what = start(kubectl, "later", template(None), suspend=True)
    status = ended(kubectl, what, "Suspended")
    assert "startTime" not in status and names(kubectl, "pods") == []
    assert kubectl("get", what, "--no-headers").split()[:2] == ["later", "Suspended"]
    # While it has not begun, a queue may still choose its nodes.
    kubectl("patch", what, "-p", '{"spec":{"template":{"spec":{"nodeSelector":{"kubernetes.io/hostname":"node-1"}}}}}')
    kubectl("patch", what, "-p", '{"spec":{"suspend":false}}')
    kubectl("wait", what, "--for=jsonpath={.status.ready}=1", "--timeout=30s")
    assert items(kubectl, "pods", ".spec.nodeName") == ["node-1"]
    kubectl("patch", what, "-p", '{"spec":{"suspend":true}}')
    ended(kubectl, what, "Suspended")
    wait_for(lambda: names(kubectl, "pods") == [], "its pods to be ended")
    told = kubectl("describe", what)
    assert "Job suspended" in told and "Job resumed" in told and "SuccessfulDelete" in told


def test_a_finished_job_goes_when_its_time_to_live_is_over(kubectl: Kubectl) -> None:
    what = start(kubectl, "pi", template(), ttlSecondsAfterFinished=1000)
    ended(kubectl, what, "Complete")
    kubectl("patch", what, "-p", '{"spec":{"ttlSecondsAfterFinished":0}}')
    kubectl("wait", what, "--for=delete", "--timeout=30s")
    wait_for(lambda: names(kubectl, "pods") == [], "its pods to go")


#: A minute that comes once in four years: nothing is due but what a test makes due.
RARELY = "0 0 29 2 *"
MISSED = '{"status":{"lastScheduleTime":"2020-01-01T00:00:00Z"}}'


def cron(kubectl: Kubectl, of: dict[str, Any], **spec: Any) -> str:
    body = {
        "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "hello"},
        "spec": {"schedule": RARELY, "jobTemplate": {"spec": {"template": of}}, **spec},
    }  # fmt: skip
    kubectl("apply", "-f", "-", stdin=json.dumps(body))
    return "cronjob/hello"


def miss(kubectl: Kubectl) -> None:
    """Make it due: its last run was long ago."""
    kubectl("patch", "cronjob", "hello", "--subresource=status", "--type=merge", "-p", MISSED)


def runs(kubectl: Kubectl) -> list[str]:
    return names(kubectl, "jobs")


def test_a_cron_job_is_made_run_by_hand_suspended_and_deleted(kubectl: Kubectl) -> None:
    kubectl("create", "cronjob", "hello", "--image=busybox", "--schedule=*/1 * * * *", "--", "date")
    assert kubectl("get", "cronjob", "hello", "--no-headers").split()[:8] == [
        "hello", "*/1", "*", "*", "*", "*", "<none>", "False"
    ]  # fmt: skip
    kubectl("patch", "cronjob", "hello", "-p", '{"spec":{"suspend":true}}')
    kubectl("create", "job", "--from=cronjob/hello", "now")
    meta = json.loads(kubectl.path("job/now", ".metadata"))
    assert meta["annotations"]["cronjob.kubernetes.io/instantiate"] == "manual"
    assert meta["ownerReferences"][0]["name"] == "hello" and meta["ownerReferences"][0]["controller"]
    assert json.loads(kubectl.path("job/now", ".spec.template.spec.containers[0].command")) == ["date"]
    miss(kubectl)  # a suspended one starts nothing
    told = kubectl("describe", "cronjob", "hello")
    assert "Suspend:                       True" in told and "Concurrency Policy:            Allow" in told
    assert 'Invalid value: "61 * * * *"' in kubectl("create", "cronjob", "bad", "--image=x", "--schedule=61 * * * *", code=1)
    kubectl("delete", "cronjob", "hello")
    wait_for(lambda: runs(kubectl) == [], "its jobs to go")


def test_a_missed_run_starts_at_once_unless_its_deadline_is_over(kubectl: Kubectl) -> None:
    what = cron(kubectl, template())
    miss(kubectl)
    kubectl("wait", what, "--for=jsonpath={.status.lastSuccessfulTime}", "--timeout=30s")
    [job] = runs(kubectl)
    scheduled = kubectl.path(f"job/{job}", ".metadata.annotations.batch\\.kubernetes\\.io/cronjob-scheduled-timestamp")
    assert scheduled == kubectl.path(what, ".status.lastScheduleTime") and scheduled.endswith("-02-29T00:00:00Z")
    told = kubectl("describe", what)
    assert f"Created job {job}" in told and f"Saw completed job: {job}, condition: Complete" in told
    kubectl("delete", what)
    what = cron(kubectl, template(), startingDeadlineSeconds=100)
    miss(kubectl)
    wait_for(lambda: "hello" in names(kubectl, "cronjobs"), "the other")
    assert runs(kubectl) == []


def test_runs_are_refused_or_replaced_as_the_concurrency_policy_says(kubectl: Kubectl) -> None:
    what = cron(kubectl, template(None), concurrencyPolicy="Forbid")
    miss(kubectl)
    kubectl("wait", what, "--for=jsonpath={.status.active[0].kind}=Job", "--timeout=30s")
    [first] = runs(kubectl)
    # Another schedule, so that the next run bears another name.
    kubectl("patch", what, "-p", '{"spec":{"schedule":"1 0 29 2 *"}}')
    miss(kubectl)
    wait_for(lambda: "JobAlreadyActive" in kubectl("events", "--for", what), "the run to be refused")
    assert runs(kubectl) == [first]
    kubectl("patch", what, "-p", '{"spec":{"concurrencyPolicy":"Replace"}}')
    wait_for(lambda: len(now := runs(kubectl)) == 1 and now != [first], "the first run to be replaced")
    assert f"Deleted job {first}" in kubectl("events", "--for", what)


def test_a_cron_job_keeps_as_many_finished_jobs_as_its_limits_say(kubectl: Kubectl) -> None:
    what = cron(kubectl, template(), successfulJobsHistoryLimit=1, failedJobsHistoryLimit=0)
    for name in ("one", "two", "three"):
        kubectl("create", "job", "--from=cronjob/hello", name)
    wait_for(lambda: len(runs(kubectl)) == 1, "one of three to be left")
    kubectl("patch", what, "-p", '{"spec":{"successfulJobsHistoryLimit":0}}')
    wait_for(lambda: runs(kubectl) == [], "none to be left")
