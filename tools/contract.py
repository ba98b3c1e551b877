"""Ask a server over HTTPS for what its own OpenAPI promises, in requests that Schemathesis makes up; find no 500, no hang and no growth.

tools/contract.py [COUNT] [SEED]        20,000 requests unless told otherwise; exit code 1 if anything was found

The server is a process of its own, on SQLite. An error that it logged counts as found.
"""

from __future__ import annotations

import base64
import collections
import http.client
import json
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from golden.published import DEFINITION, Made, offence, requests_of

SECONDS = 30.0
http.client._MAXHEADERS = 1000  # type: ignore[attr-defined]  # a hundred warnings and more
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


class Caller:
    """One connection at a time to the server of a kubeconfig, as its administrator."""

    def __init__(self, kubeconfig: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self._where = cluster["server"].removeprefix("https://")
        self._context = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
        with tempfile.NamedTemporaryFile() as pair:
            pair.write(base64.b64decode(user["client-certificate-data"]) + base64.b64decode(user["client-key-data"]))
            pair.flush()
            self._context.load_cert_chain(pair.name)
        self._connection: http.client.HTTPSConnection | None = None

    def __call__(self, made: Made) -> tuple[int, bytes]:
        """Code and body. A watch that began is left at once; what takes longer than SECONDS is answered with 599."""
        if self._connection is None:
            self._connection = http.client.HTTPSConnection(self._where, timeout=SECONDS, context=self._context)
        try:
            self._connection.request(made.method, made.target, made.body or None, made.headers)
            answer = self._connection.getresponse()
            if answer.status == 200 and "watch" in made.target:
                self.close()
                return 200, b""
            return answer.status, answer.read()
        except (TimeoutError, ConnectionError, http.client.HTTPException) as error:
            self.close()
            return 599, repr(error).encode()
        except (ValueError, UnicodeError):  # what this client cannot send
            self.close()
            return 0, b""

    def json(self, method: str, target: str, body: Any = None) -> Any:
        _, answer = self(Made(method, target, {"Content-Type": "application/json"}, json.dumps(body).encode() if body else b""))
        return json.loads(answer)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


@contextmanager
def server(folder: Path) -> Iterator[tuple[Path, int, Path]]:
    """An API server: its administrator's kubeconfig, its process id, and the file that holds what it complained about."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    kubeconfig, errors = folder / "kubeconfig", folder / "errors"
    command = [sys.executable, "-m", "pilothouse", "apiserver", "--data-dir", str(folder / "data"), "--secure-port", str(port)]
    with errors.open("w") as out:
        process = subprocess.Popen([*command, "--kubeconfig-out", str(kubeconfig)], stdout=subprocess.PIPE, stderr=out, text=True)
        assert process.stdout is not None
        try:
            if not process.stdout.readline():
                raise SystemExit(errors.read_text())
            yield kubeconfig, process.pid, errors
        finally:
            process.terminate()
            process.wait()
            process.stdout.close()


def memory(pid: int) -> int:
    """MiB that a process holds."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))) // 1024


def play(call: Caller, count: int, seed: int, pid: int) -> list[str]:
    """Send about `count` requests, in rounds over all documents; say what was answered as it must not be."""
    call.json("POST", CRDS, DEFINITION)
    while "apis/shop.example.com/v1" not in (documents := call.json("GET", "/openapi/v3")["paths"]):
        time.sleep(0.05)
    published = {path: call.json("GET", f"/openapi/v3/{path}") for path in documents}
    operations = sum(len({*item} - {"parameters"}) for document in published.values() for item in document["paths"].values())
    each = -(-count // operations)
    found: list[str] = []
    codes: collections.Counter[int] = collections.Counter()
    started = time.monotonic()
    for path, document in published.items():
        for made in requests_of(document, each, seed):
            code, answer = call(made)
            codes[code] += 1
            wrong = offence(made, code, answer)
            if wrong:
                found.append(wrong)
                print(wrong, flush=True)
        print(
            f"{path}: {codes.total()} requests, {len(found)} offences, {time.monotonic() - started:.0f} s, {memory(pid)} MiB",
            flush=True,
        )
    print("codes: " + ", ".join(f"{code} {number}" for code, number in sorted(codes.items())))
    return found


def main() -> int:
    given = [int(text) for text in sys.argv[1:]]
    count, seed = given[0] if given else 20_000, given[1] if given[1:] else 1
    with tempfile.TemporaryDirectory() as folder, server(Path(folder)) as (kubeconfig, pid, errors):
        call = Caller(kubeconfig)
        found = play(call, count, seed, pid)
        call.close()
        told = errors.read_text()
    print(told[:5000], end="")
    return 1 if found or "ERROR" in told or "Traceback" in told else 0


if __name__ == "__main__":
    sys.exit(main())
