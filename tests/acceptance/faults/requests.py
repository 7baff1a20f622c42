"""One request of each kind, with what it needs beforehand and what it leads to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from broker.domain.operation import OperationKind
from tests.support.catalog import BIG, SERVICE, SMALL
from tests.support.faults_platform import PLACE, is_over, path
from tests.support.faults_waiting import PATIENCE, until
from tests.support.platform import new_id

if TYPE_CHECKING:
    import httpx

    from tests.support.faults_platform import PatientPlatform

EXTENSIONS = {"extensions": ["hstore"]}
FEWER = {"extensions": ["citext"]}


@dataclass(frozen=True, slots=True)
class Request:
    """A request that changes something.

    Attributes:
        kind: The kind of operation it leads to.
        instance: On which instance.
        binding: On which binding of it, for bind and unbind.
        plan: Of the instance.
    """

    kind: str
    instance: str
    binding: str | None
    plan: str = SMALL

    @classmethod
    async def prepared(cls, platform: PatientPlatform, kind: str, plan: str = SMALL) -> Request:
        """Make what a request of this kind needs, with a bystander that it must not touch."""
        instance, binding = new_id(), new_id()
        if kind != OperationKind.PROVISION:
            await platform.provision(instance, plan)
            await platform.bind(instance, new_id())
        if kind == OperationKind.UNBIND:
            await platform.bind(instance, binding)
        named = kind in {OperationKind.BIND, OperationKind.UNBIND}
        return cls(kind, instance, binding if named else None, plan)

    @property
    def _change(self) -> dict[str, Any]:
        """What an update changes: a plan that leads nowhere stays."""
        leads_on = self.plan == SMALL
        return {"plan_id": BIG, "parameters": EXTENSIONS} if leads_on else {"parameters": FEWER}

    async def sent_once(
        self, platform: PatientPlatform, *, within: float = PATIENCE, **query: str
    ) -> httpx.Response | None:
        """Send it, once; ``None`` when there was no answer."""
        method, named = "PUT", False
        body: dict[str, Any] = {"service_id": SERVICE, "plan_id": self.plan}
        match self.kind:
            case OperationKind.PROVISION:
                body["context"] = PLACE
            case OperationKind.UPDATE:
                method, body = "PATCH", {**body, **self._change}
            case OperationKind.DEPROVISION | OperationKind.UNBIND:
                method, named = "DELETE", True
        where = path(self.instance, self.binding)
        return await platform.once(
            method,
            where,
            json=None if named else body,
            params={**(body if named else {}), **query},
            within=within,
        )

    async def polled(self, platform: PatientPlatform, **query: str) -> httpx.Response:
        """Ask once how it is getting on."""
        where = f"{path(self.instance, self.binding)}/last_operation"
        answer = await platform.once("GET", where, params=query)
        assert answer is not None
        return answer

    async def over(self, platform: PatientPlatform, **query: str) -> httpx.Response:
        """Poll until it has ended, and return what the last poll said."""
        answers: list[httpx.Response] = []

        async def ended() -> bool:
            answers.append(await self.polled(platform, **query))
            return is_over(answers[-1])

        await until(ended, what=f"the {self.kind} ends")
        return answers[-1]

    async def settled(self, platform: PatientPlatform) -> httpx.Response:
        """Repeat it until its fate is known."""
        binding = self.binding or ""
        match self.kind:
            case OperationKind.PROVISION:
                return await platform.provision(self.instance, self.plan)
            case OperationKind.UPDATE:
                change = self._change
                return await platform.update(
                    self.instance, change.get("plan_id"), change["parameters"]
                )
            case OperationKind.DEPROVISION:
                return await platform.deprovision(self.instance)
            case OperationKind.BIND:
                return await platform.bind(self.instance, binding)
            case _:
                return await platform.unbind(self.instance, binding)
