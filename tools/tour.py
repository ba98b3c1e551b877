"""`make up`: a cluster, the guestbook example on it, its load balancer and its gateway asked, and what to try next.

PORT is the API server's, FOLDER where the cluster is kept; with ONCE it ends after the tour.
"""

from __future__ import annotations

import http.client
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = Path(os.environ.get("FOLDER") or ROOT / ".pilothouse")
#: That of this environment before that of the machine.
KUBECTL = shutil.which("kubectl", path=os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))) or "kubectl"
NAME, PORT = "guestbook.localhost", 8080


def kubectl(*arguments: str, quietly: bool = False) -> str:
    """What it prints, shown, unless it is `quietly` asked."""
    if not quietly:
        print(f"$ kubectl {' '.join(arguments)}", flush=True)
    environment = {**os.environ, "KUBECONFIG": str(FOLDER / "kubeconfig")}
    done = subprocess.run([KUBECTL, *arguments], check=True, env=environment, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    if not quietly:
        print(done.stdout, end="", flush=True)
    return done.stdout


def told(what: str, path: str) -> str:
    """The value at a path of an object of the guestbook, as soon as there is one."""
    asked = "jsonpath={" + path + "}"
    kubectl("-n", "guestbook", "wait", "--for", asked, what, "--timeout=30s", quietly=True)
    return kubectl("-n", "guestbook", "get", what, "-o", asked, quietly=True)


def moved(what: str, path: str) -> int:
    """The port that stands for PORT where somebody else has that one, as the object's own words end with it."""
    words = kubectl("-n", "guestbook", "get", what, "-o", "jsonpath={" + path + "}", quietly=True)
    number = re.search(r"\d+$", words)
    return int(number[0]) if number else PORT


def curl(address: str, port: int, host: str) -> None:
    """Ask an address for the front page of a host; without curl in its words."""
    options = [] if host == address else ["--resolve", f"{host}:{port}:{address}"]
    command = ["curl", "-s", *options, f"http://{host}:{port}/"]
    print(f"$ {' '.join(command)}", flush=True)
    if shutil.which("curl"):
        subprocess.run(command, check=True)
        return
    connection = http.client.HTTPConnection(address, port, timeout=10)
    connection.request("GET", "/", headers={"Host": f"{host}:{port}"})
    print(connection.getresponse().read().decode(), end="", flush=True)


def tour() -> None:
    kubectl("apply", "-f", "examples/guestbook/guestbook.yaml")
    kubectl("-n", "guestbook", "rollout", "status", "deployment/frontend", "--timeout=60s")
    balancer = told("service/frontend", ".status.loadBalancer.ingress[0].ip")
    kubectl("-n", "guestbook", "get", "deployments,pods,services", "-o", "wide")
    port = moved("service/frontend", r".metadata.annotations.pilothouse\.dev/load-balancer-ports")
    curl(balancer, port, balancer)
    for condition in ("create", "condition=Established"):  # a cluster learns of the Gateway API when it is ready
        kubectl("wait", "--for", condition, "crd/httproutes.gateway.networking.k8s.io", "--timeout=30s", quietly=True)
    kubectl("apply", "-f", "examples/guestbook/http-gateway.yaml")
    kubectl("-n", "guestbook", "wait", "--for", "condition=Programmed", "gateway/guestbook", "--timeout=30s")
    kubectl("-n", "guestbook", "get", "gateways,httproutes")
    gateway = told("gateway/guestbook", ".status.addresses[0].value")
    programmed = ".status.listeners[0].conditions[?(@.type=='Programmed')].message"
    curl(gateway, moved("gateway/guestbook", programmed), NAME)
    print("\nTry next (the nodes are simulated):")
    print(f"  export KUBECONFIG={FOLDER / 'kubeconfig'}")
    print("  kubectl -n guestbook scale deployment/frontend --replicas=10")
    print("  kubectl -n guestbook set image deployment/frontend web=example.com/guestbook-frontend:v6")
    print("  kubectl -n guestbook rollout history deployment/frontend")
    print("  kubectl get events -A --watch")
    print(f"  http://{balancer}:{port}/ in a browser", end="\n\n")
    print(f"Ctrl-C stops; what is in {FOLDER.name}/ is found again by the next start.", flush=True)


def main() -> int:
    FOLDER.mkdir(mode=0o700, exist_ok=True)
    port = os.environ.get("PORT", "6443")
    command = [str(Path(sys.executable).parent / "pilothouse"), "up", "--data-dir", str(FOLDER), "--port", port, "--nodes", "3"]
    print(f"$ {' '.join(command)}", flush=True)
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [*command, "--kubeconfig", str(FOLDER / "kubeconfig")], stdout=subprocess.PIPE, stderr=errors, text=True
        )
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            errors.seek(0)
            print(errors.read(), file=sys.stderr, end="")
            return process.wait()
    print(line, end="", flush=True)
    try:
        tour()
        if os.environ.get("ONCE"):
            process.terminate()
        return process.wait()
    except KeyboardInterrupt:
        return process.wait()
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()


if __name__ == "__main__":
    sys.exit(main())
