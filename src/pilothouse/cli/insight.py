"""`pilothouse explain` and `pilothouse what-if`: questions about scheduling, to a cluster or to dumps of one."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from pilothouse.cli.running import fail

if TYPE_CHECKING:
    from pilothouse.client.http import HttpTransport
    from pilothouse.scheduler.insight.situation import Situation
    from pilothouse.scheduler.profile import Profile

Obj = dict[str, Any]
T = TypeVar("T")

#: What decisions are made on, besides nodes and pods, wherever it is served.
_COLLECTIONS = (
    "/api/v1/nodes",
    "/api/v1/pods",
    "/api/v1/services",
    "/api/v1/namespaces",
    "/api/v1/replicationcontrollers",
    "/apis/apps/v1/replicasets",
    "/apis/apps/v1/statefulsets",
    "/apis/policy/v1/poddisruptionbudgets",
    "/apis/scheduling.k8s.io/v1/priorityclasses",
    "/api/v1/persistentvolumes",
    "/api/v1/persistentvolumeclaims",
    "/apis/storage.k8s.io/v1/storageclasses",
    "/apis/storage.k8s.io/v1/csinodes",
    "/apis/storage.k8s.io/v1/csidrivers",
    "/apis/storage.k8s.io/v1/csistoragecapacities",
    "/apis/storage.k8s.io/v1/volumeattachments",
    "/apis/resource.k8s.io/v1/resourceclaims",
    "/apis/resource.k8s.io/v1/resourceclaimtemplates",
    "/apis/resource.k8s.io/v1/resourceslices",
    "/apis/resource.k8s.io/v1/deviceclasses",
)
_NEEDED = 2  # of these, the first so many

KubeconfigOption = Annotated[Path | None, typer.Option("--kubeconfig", help="Which cluster, and as whom. [env: KUBECONFIG]")]
Namespace = Annotated[str, typer.Option("--namespace", "-n", help="The pod's namespace.")]
Output = Annotated[str, typer.Option("--output", "-o", help="table, json or yaml.")]
ConfigOption = Annotated[
    Path | None, typer.Option("--profile", help="A KubeSchedulerConfiguration file in the place of the defaults.")
]
PluginFiles = Annotated[list[Path] | None, typer.Option("--plugin-file", help="A Python file with scheduler plugins.")]


class Refused(Exception):
    """What the user can mend, in one line."""


def explain(
    what: Annotated[str, typer.Argument(help="pod/NAME (or NAME), or service/NAME.")],
    namespace: Namespace = "default",
    output: Output = "table",
    svg: Annotated[Path | None, typer.Option("--svg", help="Draw it to this file, too.")] = None,
    kubeconfig: KubeconfigOption = None,
) -> None:
    """Say why a pod is where it is, or why it has no node and what would have to change; or why a Service answers, or does not."""
    kind, _, name = what.rpartition("/")
    if kind in ("service", "services", "svc") and name and svg is None:
        _explain_service(_kubeconfig(kubeconfig), namespace, name, output)
        return
    if kind not in ("", "pod", "pods", "po") or not name:
        fail(f"{what}: expected pod/NAME or service/NAME" if svg is None else f"{what}: only pods are drawn")
    found = _ask(_decision(_kubeconfig(kubeconfig), namespace, name))
    if svg is not None:
        from pilothouse.scheduler.insight.picture import picture

        svg.write_text(picture(found))
    _print(found, output, "decision_text")


def what_if(
    filename: Annotated[list[Path] | None, typer.Option("--filename", "-f", help="Manifests of pods and workloads.")] = None,
    dump: Annotated[
        list[Path] | None, typer.Option("--from", help="A cluster as `kubectl get -o yaml` or -o json dumped it.")
    ] = None,
    add_nodes: Annotated[int, typer.Option("--add-nodes", min=0, help="So many nodes more.")] = 0,
    like: Annotated[str, typer.Option("--like", help="The node that added ones are copies of.")] = "",
    drain: Annotated[list[str] | None, typer.Option("--drain", help="A node that is emptied.")] = None,
    pending: Annotated[bool, typer.Option("--pending", help="Decide the pods, too, that wait for a node.")] = False,
    profile: ConfigOption = None,
    plugin_file: PluginFiles = None,
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="That of manifests which name none.")] = "default",
    output: Output = "table",
    kubeconfig: KubeconfigOption = None,
) -> None:
    """Say where pods would go, on a cluster as it is or as it could be. Nothing is written."""
    if not (filename or drain or pending or add_nodes):
        fail("nothing to try: give -f, --drain, --pending or --add-nodes")
    report = _ask(_report(filename or [], dump or [], add_nodes, like, tuple(drain or ()), pending or not (filename or drain),
                          profile, plugin_file or [], namespace, kubeconfig))  # fmt: skip
    _print(report, output, "report_text")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(explain)
    app.command("what-if")(what_if)


# --- explain ------------------------------------------------------------------------------------------------------------------


async def _decision(kubeconfig: Path, namespace: str, name: str) -> Obj:
    """The scheduler's own answer; where there is none to ask, the decision as it would be made now."""
    async with _connected(kubeconfig) as transport:
        path = f"/apis/pilothouse.dev/v1alpha1/namespaces/{namespace}/schedulingdecisions/{name}"
        response = await transport.request("GET", path)
        if response.status == 200:
            found: Obj = response.body
            return found
        if response.status in (401, 403):
            raise Refused(response.body["message"])
        return _decided_here(await _read(transport), namespace, name)


def _decided_here(cluster: Situation, namespace: str, name: str) -> Obj:
    from pilothouse.clock import SystemClock
    from pilothouse.scheduler.insight.answers import decide_anew
    from pilothouse.scheduler.insight.explain import decision_object
    from pilothouse.scheduler.insight.nearest import nearest
    from pilothouse.scheduler.podinfo import pod_info

    obj = cluster.collections.get("pods", {}).get((namespace, name))
    if obj is None:
        raise Refused(f'pods "{name}" not found in namespace {namespace}')
    profile = next(iter(_profiles(None, []).values()))
    noted = decide_anew(cluster.snapshot, pod_info(obj), profile, SystemClock())
    near = nearest(cluster.snapshot, noted.pod, profile) if noted.record.row < 0 else ()
    return decision_object(noted, near, recorded=False)


# --- explain a Service ----------------------------------------------------------------------------------------------------------


def _explain_service(kubeconfig: Path, namespace: str, name: str, output: str) -> None:
    from pilothouse.cli.services import read_service, service_text
    from pilothouse.client.service_reasons import connect, findings, places

    async def told() -> Obj:
        async with _connected(kubeconfig) as transport:
            found = await read_service(transport, namespace, name)
        steps = findings(found, await connect(places(found)))
        return {
            "kind": "Service", "namespace": namespace, "name": name, "type": found.service["spec"].get("type", "ClusterIP"),
            "findings": [{"well": step.well, "text": step.text} for step in steps],
        }  # fmt: skip

    obj = _ask(told())
    if output == "table":
        typer.echo(service_text(obj), nl=False)
    else:
        _print(obj, output, "")


# --- what-if ------------------------------------------------------------------------------------------------------------------


async def _report(files: list[Path], dumps: list[Path], add_nodes: int, like: str, drain: tuple[str, ...], pending: bool,
                  profile: Path | None, plugins: list[Path], namespace: str, kubeconfig: Path | None) -> Obj:  # fmt: skip
    from pilothouse.scheduler.insight import whatif
    from pilothouse.scheduler.insight.situation import situation

    objects = [obj for file in files for obj in _objects(file)]
    if dumps:
        cluster = situation(obj for file in dumps for obj in _objects(file))
    else:
        async with _connected(_kubeconfig(kubeconfig)) as transport:
            cluster = await _read(transport)
    question = whatif.Question(tuple(objects), namespace, add_nodes, like, drain, pending)
    classes = cluster.collections.get("priorityclasses", {}).values()
    return whatif.report_object(whatif.answer(cluster.snapshot, _profiles(profile, plugins), question, cluster.waiting, classes))


def _profiles(config: Path | None, plugins: list[Path]) -> dict[str, Profile]:
    from pilothouse.scheduler.loading import load_config

    return load_config(config, plugins).profiles


def _objects(path: Path) -> list[Obj]:
    """The objects of a file of YAML or JSON documents; `-` is standard input."""
    import sys

    import yaml

    from pilothouse.scheduler.insight.situation import flattened

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text()
        return list(flattened(yaml.load_all(text, loader)))
    except yaml.YAMLError as error:
        raise Refused(f"{path}: {' '.join(str(error).split())}") from None
    except ValueError as error:
        raise Refused(f"{path}: {error}") from None


async def _read(transport: HttpTransport) -> Situation:
    """The cluster as it is."""
    from pilothouse.scheduler.insight.situation import flattened, situation

    responses = await asyncio.gather(*(transport.request("GET", path, {"resourceVersion": "0"}) for path in _COLLECTIONS))
    for response in responses[:_NEEDED]:
        if response.status != 200:
            raise Refused(response.body["message"] if isinstance(response.body, dict) else f"the server said {response.status}")
    return situation(flattened(r.body for r in responses if r.status == 200))


# --- plumbing -----------------------------------------------------------------------------------------------------------------


def _connected(kubeconfig: Path) -> Any:
    from contextlib import asynccontextmanager

    from pilothouse.client.http import HttpTransport
    from pilothouse.client.kubeconfig import load

    @asynccontextmanager
    async def connected() -> Any:
        transport = HttpTransport(load(kubeconfig), "pilothouse-cli")
        try:
            yield transport
        finally:
            await transport.close()

    return connected()


def _kubeconfig(given: Path | None) -> Path:
    if given is not None:
        return given
    named = os.environ.get("KUBECONFIG", "").split(os.pathsep)[0]
    return Path(named) if named else Path("~/.kube/config").expanduser()


def _ask(question: Coroutine[Any, Any, T]) -> T:
    """Run it; what a user can mend becomes one line and exit code 2."""
    try:
        return asyncio.run(question)
    except (Refused, ValueError) as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))


def _print(obj: Obj, output: str, text: str) -> None:
    if output == "json":
        import json

        typer.echo(json.dumps(obj, indent=4))
    elif output == "yaml":
        import yaml

        typer.echo(yaml.safe_dump(obj, sort_keys=False), nl=False)
    elif output == "table":
        from pilothouse.scheduler.insight import text as texts

        typer.echo(getattr(texts, text)(obj), nl=False)
    else:
        fail(f"--output {output}: choose table, json or yaml")
