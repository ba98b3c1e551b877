"""`make up`: a cluster, the guestbook example on it, and what to try next."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".pilothouse"
#: That of this environment before that of the machine.
KUBECTL = shutil.which("kubectl", path=os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))) or "kubectl"


def kubectl(*arguments: str) -> None:
    print(f"$ kubectl {' '.join(arguments)}", flush=True)
    subprocess.run([KUBECTL, *arguments], check=True, env={**os.environ, "KUBECONFIG": str(FOLDER / "kubeconfig")})


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
        kubectl("apply", "-f", "examples/guestbook/guestbook.yaml")
        kubectl("-n", "guestbook", "rollout", "status", "deployment/frontend", "--timeout=60s")
        kubectl("-n", "guestbook", "get", "deployments,pods,services", "-o", "wide")
        print("\nTry next (the nodes are simulated):")
        print(f"  export KUBECONFIG={FOLDER / 'kubeconfig'}")
        print("  kubectl -n guestbook scale deployment/frontend --replicas=10")
        print("  kubectl -n guestbook set image deployment/frontend web=example.com/guestbook-frontend:v6")
        print("  kubectl -n guestbook rollout history deployment/frontend")
        print(
            "  kubectl get events -A --watch\n\nCtrl-C stops; what is in .pilothouse/ is found again by the next start.",
            flush=True,
        )
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
