"""kubectl and helm, as a user types them."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.e2e.cluster.programs import Programs

TIMEOUT = 180
"""Seconds that one command may take which has no ``--timeout`` of its own."""

_GRACE = 30
"""Seconds that one may take longer than its own, to say so."""


class CommandError(Exception):
    """A command was refused; the message is what it said."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A way into the cluster: whose, and into which namespace.

    Attributes:
        kubeconfig: The file with the address and the credentials of an administrator.
        programs: Where kubectl and helm are.
        namespace: The one that commands are about when they name none.
    """

    kubeconfig: Path
    programs: Programs
    namespace: str = "default"

    def within(self, namespace: str) -> Cluster:
        """Return the same cluster, with another namespace."""
        settings = json.loads(self.kubeconfig.read_text("utf-8"))
        settings["contexts"][0]["context"]["namespace"] = namespace
        kubeconfig = self.kubeconfig.with_name(f"kubeconfig-{namespace}")
        kubeconfig.touch(mode=0o600)
        kubeconfig.write_text(json.dumps(settings), "utf-8")
        return replace(self, kubeconfig=kubeconfig, namespace=namespace)

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Run kubectl and return what it printed.

        Args:
            arguments: Of kubectl.
            stdin: What it reads, as for ``-f -``.

        Raises:
            CommandError: It failed.
        """
        return self._run(self.programs["kubectl"], *arguments, stdin=stdin)

    def helm(self, *arguments: str) -> str:
        """Run helm and return what it printed.

        Raises:
            CommandError: It failed.
        """
        return self._run(self.programs["helm"], *arguments)

    def apply(self, *objects: Mapping[str, Any]) -> str:
        """Apply objects; those that name no namespace are put into this one."""
        document = {"apiVersion": "v1", "kind": "List", "items": objects}
        return self.kubectl("apply", "--filename=-", stdin=json.dumps(document))

    def get(self, kind: str, name: str) -> dict[str, Any]:
        """Return an object.

        Raises:
            CommandError: There is none.
        """
        found: dict[str, Any] = json.loads(self.kubectl("get", kind, name, "--output=json"))
        return found

    def names(self, kind: str, labels: str = "") -> list[str]:
        """Return the names of all objects of a kind, or of those with some labels."""
        output = "--output=jsonpath={.items[*].metadata.name}"
        listed = self.kubectl("get", kind, f"--selector={labels}", output)
        return listed.split()

    def wait(self, reference: str, condition: str, *, seconds: int = 60) -> None:
        """Wait for a condition of an object, as ``kubectl wait --for`` has them.

        Args:
            reference: ``kind/name``.
            condition: For example ``condition=Ready`` or ``delete``.
            seconds: How long at most.

        Raises:
            CommandError: It did not come true; with the object as it is.
        """
        try:
            self.kubectl("wait", reference, f"--for={condition}", f"--timeout={seconds}s")
        except CommandError as error:
            shown = self.kubectl("get", reference, "--output=yaml", "--ignore-not-found")
            raise CommandError(f"{error}\n{shown}") from None

    def rollout(self, deployment: str, *, seconds: int = 170) -> None:
        """Wait until a Deployment runs as it should.

        Raises:
            CommandError: It does not in time; with what the cluster has to say about that.
        """
        arguments = ("rollout", "status", f"deployment/{deployment}", f"--timeout={seconds}s")
        try:
            self.kubectl(*arguments)
        except CommandError as error:
            pods = self.kubectl("get", "pods", "--output=wide")
            events = self.kubectl("events", "--types=Warning")
            raise CommandError(f"{error}\n{pods}\n{events}") from None

    def condition(self, kind: str, name: str, wanted: str = "Ready") -> dict[str, str]:
        """Return a condition of an object: ``status``, ``reason``, ``message``; or nothing yet."""
        conditions = self.get(kind, name).get("status", {}).get("conditions", ())
        return next((entry for entry in conditions if entry["type"] == wanted), {})

    def secret(self, name: str) -> dict[str, str]:
        """Return the decoded data of a Secret."""
        data = self.get("secret", name)["data"]
        return {key: base64.b64decode(value).decode() for key, value in data.items()}

    def _run(self, program: Path, *arguments: str, stdin: str | None = None) -> str:
        result = subprocess.run(
            [program, *arguments],
            env={
                **os.environ,
                "KUBECONFIG": str(self.kubeconfig),
                "HELM_CACHE_HOME": str(self.kubeconfig.parent / "helm"),
                "HELM_CONFIG_HOME": str(self.kubeconfig.parent / "helm"),
                "HELM_DATA_HOME": str(self.kubeconfig.parent / "helm"),
            },
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=_limit(arguments),
            check=False,
        )
        if result.returncode != 0:
            command = " ".join((program.name, *arguments))
            raise CommandError(f"{command}: {result.stderr.strip()}\n{result.stdout}".strip())
        return result.stdout


def _limit(arguments: tuple[str, ...]) -> int:
    for argument in arguments:
        name, _, seconds = argument.partition("=")
        if name == "--timeout":
            return int(seconds.removesuffix("s")) + _GRACE
    return TIMEOUT
