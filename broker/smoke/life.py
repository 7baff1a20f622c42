"""The life of an instance, from the catalog to nothing left: what a smoke run does, in order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.smoke.credentials import secrets_of
from broker.smoke.errors import StepFailed

if TYPE_CHECKING:
    from broker.smoke.catalog import Choice
    from broker.smoke.database import Application
    from broker.smoke.journal import Journal
    from broker.smoke.platform import Credentials, Platform


class Life:
    """One instance and its bindings.

    Args:
        platform: Talks to the broker.
        application: Talks to the database.
        journal: Notes the steps.
        choice: What the plan can do.
    """

    def __init__(
        self, platform: Platform, application: Application, journal: Journal, choice: Choice
    ) -> None:
        self._platform = platform
        self._application = application
        self._journal = journal
        self._choice = choice
        self._rows: list[int] = []

    async def live(self) -> None:
        """Live it.

        Raises:
            StepFailed: At the first step that does not do what it should.
        """
        instance = await self._provision()
        binding, credentials = await self._bind("bind", instance)
        await self._fetch_binding(instance, binding, credentials)
        await self._use(credentials)
        binding, credentials = await self._rotate(instance, binding, credentials)
        await self._read_only(instance)
        await self._unbind("unbind", instance, binding, credentials)
        with self._journal.step("unbind again") as step:
            await self._platform.expect_gone(instance, binding)
            step.detail = "410"
        await self._deprovision(instance, credentials)

    async def _provision(self) -> str:
        with self._journal.step("provision") as step:
            step.detail = str(await self._platform.provision())
        instance = self._platform.instance
        if instance is None:
            raise AssertionError("a provision that succeeds leaves an instance")
        if not self._choice.instances_retrievable:
            self._journal.skip("fetch the instance", "not offered")
            return instance
        with self._journal.step("fetch the instance") as step:
            found = await self._platform.fetch_instance(instance)
            for key, expected in (
                ("service_id", self._choice.service_id),
                ("plan_id", self._choice.plan_id),
            ):
                if found.get(key, expected) != expected:
                    raise StepFailed(f"{key} is {found[key]!r}; expected {expected!r}.")
            step.detail = "200"
        return instance

    async def _bind(
        self,
        name: str,
        instance: str,
        *,
        predecessor: str | None = None,
        read_only: bool = False,
    ) -> tuple[str, Credentials]:
        parameters = self._choice.read_only if read_only else None
        with self._journal.step(name) as step:
            binding, credentials, status = await self._platform.bind(
                instance, predecessor=predecessor, parameters=parameters
            )
            self._journal.hide(secrets_of(credentials))
            step.detail = str(status)
        return binding, credentials

    async def _fetch_binding(self, instance: str, binding: str, credentials: Credentials) -> None:
        if not self._choice.bindings_retrievable:
            self._journal.skip("fetch the binding", "not offered")
            return
        with self._journal.step("fetch the binding") as step:
            if await self._platform.fetch_binding(instance, binding) != credentials:
                raise StepFailed("The credentials differ from those that bind returned.")
            step.detail = "200"

    async def _use(self, credentials: Credentials) -> None:
        with self._journal.step("connect") as step:
            step.detail = await self._application.connect_every_way(credentials)
        with self._journal.step("create a table"):
            await self._application.create_table(credentials)
        with self._journal.step("write and read a row"):
            await self._write(credentials)
            await self._application.read(credentials, self._rows)

    async def _rotate(
        self, instance: str, binding: str, credentials: Credentials
    ) -> tuple[str, Credentials]:
        if not self._choice.rotatable:
            self._journal.skip("rotate", "not offered")
            return binding, credentials
        successor, new = await self._bind("rotate", instance, predecessor=binding)
        with self._journal.step("old and new login work"):
            for each in (credentials, new):
                await self._write(each)
                await self._application.read(each, self._rows)
        await self._unbind("unbind the predecessor", instance, binding, credentials)
        with self._journal.step("the new login still works"):
            await self._application.read(new, self._rows)
        return successor, new

    async def _read_only(self, instance: str) -> None:
        if self._choice.read_only is None:
            self._journal.skip("bind for reading only", "not offered")
            return
        binding, credentials = await self._bind("bind for reading only", instance, read_only=True)
        with self._journal.step("reading works, writing is refused"):
            await self._application.read(credentials, self._rows)
            await self._application.expect_read_only(credentials, len(self._rows) + 1)
        await self._unbind("unbind the reader", instance, binding, credentials)

    async def _unbind(
        self, name: str, instance: str, binding: str, credentials: Credentials
    ) -> None:
        with self._journal.step(name) as step:
            step.detail = str(await self._platform.unbind(instance, binding))
        with self._journal.step("its login is refused"):
            await self._application.expect_refused(credentials)

    async def _deprovision(self, instance: str, credentials: Credentials) -> None:
        with self._journal.step("deprovision") as step:
            step.detail = str(await self._platform.deprovision(instance))
        with self._journal.step("the database is gone"):
            await self._application.expect_refused(credentials, server_stays=False)
        with self._journal.step("deprovision again") as step:
            await self._platform.expect_gone(instance)
            step.detail = "410"
        if self._choice.instances_retrievable:
            with self._journal.step("the instance is not found"):
                await self._platform.expect_not_found(instance)

    async def _write(self, credentials: Credentials) -> None:
        number = len(self._rows) + 1
        await self._application.write(credentials, number)
        self._rows.append(number)
