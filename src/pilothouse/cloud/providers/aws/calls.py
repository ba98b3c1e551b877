"""Calls of AWS: boto3's clients in a few threads, because they block, and what their errors mean.

Nothing is tried twice here: retries, pauses and rates are the caller's (`cloud/guard.py`), so botocore's own are switched off.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pilothouse.cloud.provider import CloudError, InstanceNotFound, RetryAfter, Throttled
from pilothouse.cloud.providers.aws.config import Settings

Obj = dict[str, Any]

THREADS = 8
_THROTTLED = {
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "RequestThrottled",
    "RequestThrottledException",
    "RequestLimitExceeded",
    "TooManyRequestsException",
    "EC2ThrottledException",
    "PriorRequestNotComplete",
    "BandwidthLimitExceeded",
    "SlowDown",
}
_NO_INSTANCE = {"InvalidInstanceID.NotFound", "InvalidInstanceID.Malformed"}
#: What still holds on to something that is to be deleted lets go of it within minutes.
_IN_USE = {"DependencyViolation", "ResourceInUse", "ResourceInUseException"}
IN_USE_SECONDS = 10.0
#: Where one page ends: what a request calls the next one, and what an answer does.
_MARKS = {"elbv2": ("Marker", "NextMarker")}


class AwsError(CloudError):
    """AWS said no. `code` is its word for why."""

    def __init__(self, operation: str, code: str, message: str) -> None:
        super().__init__(f"{operation}: {code}: {message}")
        self.code = code


class Calls:
    """The clients of one provider."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._threads: ThreadPoolExecutor | None = None
        self._clients: dict[str, Any] = {}
        self.region = settings.region

    async def start(self) -> None:
        """CloudError where no region can be found, or the role not be taken."""
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="aws")
        await self._run(self._connect)

    async def close(self) -> None:
        threads, self._threads = self._threads, None
        if threads is None:
            return
        await asyncio.to_thread(threads.shutdown, wait=True, cancel_futures=True)
        for client in self._clients.values():
            client.close()
        self._clients = {}

    async def call(self, service: str, operation: str, **parameters: Any) -> Obj:
        """One request. Parameters that are None are left out."""
        method = getattr(self._clients[service], operation)
        return await self._run(functools.partial(method, **{k: v for k, v in parameters.items() if v is not None}))

    async def pages(self, service: str, operation: str, member: str, **parameters: Any) -> list[Any]:
        """One list, all pages of it."""
        asked, told = _MARKS.get(service, ("NextToken", "NextToken"))
        found: list[Any] = []
        mark = None
        while True:
            answer = await self.call(service, operation, **parameters, **{asked: mark})
            found.extend(answer.get(member) or ())
            mark = answer.get(told)
            if not mark:
                return found

    async def _run(self, work: Any) -> Any:
        if self._threads is None:
            raise CloudError("the provider aws is not running")
        running = asyncio.get_running_loop().run_in_executor(self._threads, _translated, work)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            # What is on its way cannot be called back: nothing may happen behind the back of whoever comes next.
            await asyncio.wait([running])
            if not running.cancelled():
                running.exception()
            raise

    def _connect(self) -> None:
        import boto3
        from botocore.config import Config

        session = boto3.Session(botocore_session=_session(), region_name=self.region or None)
        self.region = self.region or session.region_name or _region_of_this_machine()
        if not self.region:
            raise CloudError("no region: set Zone or Region in --cloud-config, or AWS_REGION")
        config = Config(
            retries={"total_max_attempts": 1, "mode": "standard"},
            connect_timeout=5,
            read_timeout=30,
            max_pool_connections=THREADS,
            user_agent_extra="pilothouse",
        )
        if self._settings.role:
            session = self._in_role(session, config)
        for service in ("ec2", "elbv2", "acm"):
            self._clients[service] = session.client(
                service, region_name=self.region, endpoint_url=self._endpoint(service), config=config
            )

    def _endpoint(self, service: str) -> str | None:
        told = self._settings.endpoints
        return told.get(f"{service}/{self.region}") or told.get(service) or told.get("")

    def _in_role(self, session: Any, config: Any) -> Any:
        """A session with the role's credentials, which are taken anew before they end."""
        import boto3
        from botocore.credentials import AssumeRoleCredentialFetcher, DeferredRefreshableCredentials

        extra = {"ExternalId": self._settings.role_external_id} if self._settings.role_external_id else {}
        creator = functools.partial(
            session._session.create_client, region_name=self.region, endpoint_url=self._endpoint("sts"), config=config
        )
        fetcher = AssumeRoleCredentialFetcher(
            client_creator=creator,
            source_credentials=session.get_credentials(),
            role_arn=self._settings.role,
            extra_args={"RoleSessionName": "pilothouse", **extra},
        )
        inner = _session()
        inner._credentials = DeferredRefreshableCredentials(method="assume-role", refresh_using=fetcher.fetch_credentials)
        return boto3.Session(botocore_session=inner, region_name=self.region)


@functools.cache
def _models() -> Any:
    """The descriptions of AWS's services, which are large and the same for every session."""
    from botocore.loaders import Loader
    from botocore.session import get_session

    loader: Loader = get_session().get_component("data_loader")
    return loader


def _session() -> Any:
    from botocore.session import get_session

    session = get_session()
    session.register_component("data_loader", _models())
    return session


def _region_of_this_machine() -> str:
    """As the instance metadata service tells; "" where there is none."""
    from botocore.utils import InstanceMetadataRegionFetcher

    return InstanceMetadataRegionFetcher(timeout=1, num_attempts=1).retrieve_region() or ""


def _translated(work: Any) -> Any:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return work()
    except ClientError as error:
        raise meaning(error.operation_name, error.response) from error
    except BotoCoreError as error:
        raise CloudError(" ".join(str(error).split())) from error


def meaning(operation: str, response: Mapping[str, Any]) -> CloudError:
    """What an answer that is an error says."""
    told = response.get("Error") or {}
    code, message = str(told.get("Code", "")), str(told.get("Message", ""))
    metadata = response.get("ResponseMetadata") or {}
    if code in _THROTTLED or metadata.get("HTTPStatusCode") == 429:
        wait = str((metadata.get("HTTPHeaders") or {}).get("retry-after", ""))
        return Throttled(f"{operation}: {code}: {message}", float(wait) if wait.isdigit() else 0.0)
    if code in _NO_INSTANCE:
        return InstanceNotFound(f"{operation}: {code}: {message}")
    if code in _IN_USE:
        return RetryAfter(f"{operation}: {code}: {message}", IN_USE_SECONDS)
    return AwsError(operation, code, message)


def tag_list(tags: Mapping[str, str]) -> list[Obj]:
    return [{"Key": k, "Value": v} for k, v in tags.items()]


def tag_map(tags: Iterable[Mapping[str, str]] | None) -> dict[str, str]:
    return {t["Key"]: t.get("Value", "") for t in tags or ()}


def filters(**values: Iterable[str] | str) -> list[Obj]:
    """EC2's filters; names with `_` for `-`."""
    return [{"Name": k.replace("_", "-"), "Values": [v] if isinstance(v, str) else list(v)} for k, v in values.items()]
