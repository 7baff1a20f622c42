"""A platform that does not give up, and remembers what it was told.

Belongs here: requests that are repeated until their fate is known, the way the specification wants
platforms to (OSB API 2.17, "Orphan Mitigation", "Blocking Operations"), and the record of it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

import httpx

from tests.support.catalog import SERVICE, SMALL
from tests.support.faults_waiting import PATIENCE
from tests.support.process import PASSWORD, USERNAME

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from types import TracebackType

    from tests.support.faults_replica import Replica

CREATED = frozenset({httpx.codes.OK, httpx.codes.CREATED})
DELETED = frozenset({httpx.codes.OK, httpx.codes.GONE})

PLACE = {"platform": "kubernetes", "clusterid": "c1", "namespace": "team-a"}
"""Where every instance belongs: part of what makes a repeated provision the same one."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.5


@dataclass(slots=True)
class Known:
    """An instance as the platform knows it.

    Attributes:
        plan_id: Its plan.
        parameters: All that were given, the updates merged in.
    """

    plan_id: str
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Ledger:
    """What platforms were told, and what follows from it.

    Attributes:
        instances: That exist, by id.
        bindings: Credentials of those that exist, by instance and binding id.
        revoked: Credentials that were handed out and must not work any more.
        kept: Instances that were deleted and whose data is kept, by their former ids.
        brief: Bindings whose credentials end at once, though their logins are there.
    """

    instances: dict[str, Known] = field(default_factory=dict)
    bindings: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict, repr=False)
    revoked: list[dict[str, Any]] = field(default_factory=list, repr=False)
    kept: dict[str, Known] = field(default_factory=dict)
    brief: set[tuple[str, str]] = field(default_factory=set)

    def __or__(self, other: Ledger) -> Ledger:
        """Return what two platforms with instances of their own were told."""
        return Ledger(
            self.instances | other.instances,
            self.bindings | other.bindings,
            self.revoked + other.revoked,
            self.kept | other.kept,
            self.brief | other.brief,
        )

    def deleted(self, instance: str, binding: str | None = None) -> None:
        """Remember that an instance with all its bindings is gone, or one of its bindings."""
        gone = [key for key in self.bindings if key[0] == instance and binding in {None, key[1]}]
        self.revoked += [self.bindings.pop(key) for key in gone]
        self.brief.difference_update(gone)
        if binding is None:
            self.instances.pop(instance, None)


class PatientPlatform:
    """Asks any replica that answers, again and again, until it knows.

    Args:
        replicas: Of one broker.
        ledger: What was told so far.
        rng: Chooses the replica, and spreads repetitions.
        keeping: Plans that keep the data of what is deleted.
        asynchronous: Send ``accepts_incomplete=true`` and poll.
        timeout: Seconds after which a request that is not answered is sent again.
        patience: Seconds in which the fate of everything must be known.
    """

    def __init__(
        self,
        replicas: Sequence[Replica],
        ledger: Ledger | None = None,
        *,
        rng: Random | None = None,
        keeping: Collection[str] = (),
        asynchronous: bool = False,
        timeout: float = PATIENCE,
        patience: float = 2 * PATIENCE,
    ) -> None:
        self.replicas = replicas
        self.ledger = ledger or Ledger()
        self.rng = rng or Random(0)  # noqa: S311 -- it keeps no secret
        self.asynchronous = asynchronous
        self._keeping = keeping
        self._timeout = timeout
        self._patience = patience
        self._http = httpx.AsyncClient(
            auth=httpx.BasicAuth(USERNAME, PASSWORD),
            headers={"X-Broker-API-Version": "2.17"},
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def provision(
        self, instance: str, plan: str = SMALL, parameters: dict[str, Any] | None = None
    ) -> httpx.Response:
        """Provision until it is there, or refused."""
        asked = parameters or {}
        body = {"service_id": SERVICE, "plan_id": plan, "parameters": asked, "context": PLACE}
        response = await self.settled("PUT", path(instance), json=body)
        if response.status_code in CREATED:
            self.ledger.kept.pop(asked.get("restore_from_instance", ""), None)
            self.ledger.instances[instance] = Known(plan, dict(parameters or {}))
        return response

    async def update(
        self, instance: str, plan: str | None = None, parameters: dict[str, Any] | None = None
    ) -> httpx.Response:
        """Update until it is done, or refused."""
        body: dict[str, Any] = {"service_id": SERVICE}
        if plan is not None:
            body["plan_id"] = plan
        if parameters is not None:
            body["parameters"] = parameters
        response = await self.settled("PATCH", path(instance), json=body)
        if response.status_code in CREATED:
            known = self.ledger.instances[instance]
            known.plan_id = plan or known.plan_id
            known.parameters |= parameters or {}
        return response

    async def bind(
        self, instance: str, binding: str, predecessor: str | None = None
    ) -> httpx.Response:
        """Bind, or rotate, until the credentials are there, or refused."""
        plan = self.ledger.instances[instance].plan_id
        body = {"service_id": SERVICE, "plan_id": plan}
        if predecessor is not None:
            body["predecessor_binding_id"] = predecessor
        response = await self.settled("PUT", path(instance, binding), json=body)
        if response.status_code in CREATED:
            self.ledger.bindings[instance, binding] = response.json()["credentials"]
        return response

    async def unbind(self, instance: str, binding: str) -> httpx.Response:
        """Unbind until it is gone, or refused."""
        return await self._delete(instance, binding)

    async def deprovision(self, instance: str, plan: str | None = None) -> httpx.Response:
        """Deprovision until it is gone, or refused.

        Args:
            instance: Its id.
            plan: For an instance that nobody was told exists.
        """
        return await self._delete(instance, plan=plan)

    async def _delete(
        self, instance: str, binding: str | None = None, *, plan: str | None = None
    ) -> httpx.Response:
        known = self.ledger.instances.get(instance, Known(plan or SMALL))
        named = {"service_id": SERVICE, "plan_id": known.plan_id}
        response = await self.settled("DELETE", path(instance, binding), params=named)
        if response.status_code in DELETED:
            if binding is None and known.plan_id in self._keeping:
                self.ledger.kept[instance] = known
            self.ledger.deleted(instance, binding)
        return response

    async def settled(
        self,
        method: str,
        where: str,
        *,
        json: dict[str, Any] | None = None,
        params: dict[str, str] | None = None,
    ) -> httpx.Response:
        """Repeat a request until its fate is known: nothing but 2xx and refusals are an answer.

        Raises:
            AssertionError: Nobody knows in time.
        """
        asked = dict(params or {})
        if self.asynchronous:
            asked["accepts_incomplete"] = "true"
        try:
            async with asyncio.timeout(self._patience):
                return await self._repeated(method, where, json, asked)
        except TimeoutError:
            raise AssertionError(
                f"{method} {where} was not settled within {self._patience} seconds"
            ) from None

    async def _repeated(
        self, method: str, where: str, json: dict[str, Any] | None, params: dict[str, str]
    ) -> httpx.Response:
        pause = _FIRST_PAUSE
        while True:
            response = await self.once(method, where, json=json, params=params)
            if response is not None and response.status_code == httpx.codes.ACCEPTED:
                await self._polled(where, response.json().get("operation"))
            elif response is not None and is_answer(response):
                return response
            await asyncio.sleep(pause * self.rng.uniform(0.5, 1))
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def once(
        self,
        method: str,
        where: str,
        *,
        json: dict[str, Any] | None = None,
        params: dict[str, str] | None = None,
        within: float | None = None,
    ) -> httpx.Response | None:
        """Send one request to a replica that listens.

        Returns:
            Its answer; ``None`` when there was none, so that nobody knows what became of it.
        """
        for replica in self.rng.sample(self.replicas, len(self.replicas)):
            try:
                return await self._http.request(
                    method,
                    replica.url + where,
                    json=json,
                    params=params,
                    timeout=within or self._timeout,
                )
            except httpx.ConnectError:
                continue
            except httpx.TransportError:
                return None
        return None

    async def _polled(self, where: str, operation: str | None) -> None:
        """Poll until an operation is over, or its poll is no longer answered."""
        params = {} if operation is None else {"operation": operation}
        pause = _FIRST_PAUSE
        while True:
            response = await self.once("GET", f"{where}/last_operation", params=params)
            if response is not None and is_answer(response):
                over = response.status_code != httpx.codes.OK
                if over or response.json()["state"] != "in progress":
                    return
            await asyncio.sleep(pause * self.rng.uniform(0.5, 1))
            pause = min(2 * pause, _LONGEST_PAUSE)


def is_over(polled: httpx.Response) -> bool:
    """Tell whether an answer to a poll says that the operation has ended."""
    gone = polled.status_code == httpx.codes.GONE
    return gone or (
        polled.status_code == httpx.codes.OK and polled.json()["state"] != "in progress"
    )


def is_answer(response: httpx.Response) -> bool:
    """Tell whether a response settles a request: a platform repeats it otherwise."""
    if response.is_server_error:
        return False
    return not (
        response.status_code == httpx.codes.UNPROCESSABLE_ENTITY
        and response.json().get("error") == "ConcurrencyError"
    )


def path(instance: str, binding: str | None = None) -> str:
    """Return the path of an instance or binding."""
    location = f"/v2/service_instances/{quote(instance, safe='')}"
    return location if binding is None else f"{location}/service_bindings/{quote(binding, safe='')}"
