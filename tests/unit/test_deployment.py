"""What stands beside the program: the image, the compose file, the chart, the walkthrough.

None of it is run here. What is tested is that it agrees with the program and with itself.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from broker import __version__
from broker.config import load_catalog
from broker.config.variables import VARIABLES
from broker.domain.parameters import parse_init_db_args
from tests.e2e.chart import VALUES, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "pgbroker"
WALKTHROUGH = ROOT / "examples" / "walkthrough"
COMPOSE = ROOT / "docker-compose.yml"

YAML_FILES = (COMPOSE, CHART / "Chart.yaml", CHART / "values.yaml", *WALKTHROUGH.glob("*.yaml"))
SETTING_FILES = (
    ROOT / "Dockerfile",
    COMPOSE,
    CHART / "values.yaml",
    *CHART.glob("templates/**/*.*"),
    *WALKTHROUGH.iterdir(),
)

OURS = ("prepare", "migrate", "broker", "smoke")
"""The services of the compose file that run the broker's image."""


def documents(file: Path) -> list[dict[str, Any]]:
    """Return what a YAML file holds, one mapping for each of its documents."""
    return list(YAML(typ="safe").load_all(file.read_text("utf-8")))


def document(file: Path, kind: str) -> dict[str, Any]:
    """Return the one Kubernetes object of this kind in a file."""
    (found,) = (entry for entry in documents(file) if entry["kind"] == kind)
    return found


def compose() -> dict[str, Any]:
    """Return the services of the compose file."""
    services: dict[str, Any] = documents(COMPOSE)[0]["services"]
    return services


def name_of(file: Path) -> str:
    """Return a file's path below the repository, for the names of tests."""
    return str(file.relative_to(ROOT))


@pytest.mark.parametrize("file", YAML_FILES, ids=name_of)
def test_the_yaml_is_well_formed(file: Path) -> None:
    """The file parses, without duplicate keys, and none of its documents is empty."""
    found = documents(file)
    assert found
    assert all(found)


@pytest.mark.parametrize("file", SETTING_FILES, ids=name_of)
def test_every_variable_is_one_of_the_brokers(file: Path) -> None:
    """A variable that the broker does not know would keep it from starting."""
    known = {variable.name for variable in VARIABLES}
    known |= {f"{variable.name}_FILE" for variable in VARIABLES if variable.secret}
    assert set(re.findall(r"PGBROKER_[A-Z_]*[A-Z]", file.read_text("utf-8"))) <= known


def test_what_a_broker_needs_is_set() -> None:
    """The compose file and the chart each set every variable that is required."""
    needed = {
        "PGBROKER_STATE_DSN_FILE",
        "PGBROKER_SERVERS_FILE",
        "PGBROKER_ENCRYPTION_KEYS_FILE",
        "PGBROKER_USERNAME",
        "PGBROKER_PASSWORD_FILE",
    }
    assert set(compose()["broker"]["environment"]) == needed
    helpers = (CHART / "templates" / "_helpers.tpl").read_text("utf-8")
    assert needed <= set(re.findall(r"- name: (\w+)", helpers))


@pytest.mark.parametrize("service", OURS)
def test_the_brokers_containers_are_confined(service: str) -> None:
    """The services of the broker's image write nowhere and have no privileges to gain."""
    settings = compose()[service]
    assert settings["read_only"] is True
    assert settings["cap_drop"] == ["ALL"]
    assert settings["security_opt"] == ["no-new-privileges:true"]
    assert all(volume.endswith(":ro") for volume in settings["volumes"])


def test_only_the_preparing_step_can_be_the_superuser() -> None:
    """No service that goes on running the broker is given the superuser's connection string."""
    holders = {
        name
        for name, service in compose().items()
        if any(volume.startswith("superuser-secrets:") for volume in service["volumes"])
    }
    assert holders == {"secrets", "prepare"}


def test_compose_publishes_on_loopback_only() -> None:
    """The API, whose password travels in clear text here, is reachable from this machine only."""
    published = [port for service in compose().values() for port in service.get("ports", ())]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_the_versions_agree() -> None:
    """The chart and the compose file name the image of this version of the program."""
    assert documents(CHART / "Chart.yaml")[0]["appVersion"] == __version__
    images = {compose()[service]["image"] for service in OURS}
    assert images == {f"${{BROKER_IMAGE:-pgbroker:{__version__}}}"}


def test_the_image_is_built_from_what_is_there() -> None:
    """Everything that .dockerignore lets through exists, the catalog's link target included."""
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    context = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert all((ROOT / name).exists() for name in context)
    target = (ROOT / "broker" / "config" / "catalog.yaml").resolve()
    assert target.relative_to(ROOT).parts[0] in context


@pytest.fixture
def schema() -> dict[str, Any]:
    """Return the JSON Schema of the chart's values."""
    loaded: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text("utf-8"))
    Draft202012Validator.check_schema(loaded)
    return loaded


def test_the_values_fit_their_schema(schema: dict[str, Any]) -> None:
    """The chart's defaults are allowed, and the schema has a property for each and no other."""
    values = documents(CHART / "values.yaml")[0]
    Draft202012Validator(schema).validate(values)
    assert set(schema["properties"]) - {"global"} == set(values)


@pytest.mark.parametrize(
    "change",
    [
        {"replica": 3},
        {"replicas": "3"},
        {"password": "short"},
        {"username": "a:b"},
        {"stateDsn": "db.example.com"},
        {"servers": [{"name": "main"}]},
        {"image": {"tga": "1"}},
        {"files": {"a/b": ""}},
        {"files": {"password": "another"}},
        {"podLabels": {"app.kubernetes.io/name": "another"}},
        {"podAnnotations": {"checksum/catalog": "another"}},
        {"serviceMonitor": {"enabled": True, "labels": {}, "interval": "30"}},
        {"tls": None},
        {"tls": {"source": "secret", "secretName": ""}},
    ],
    ids=json.dumps,
)
def test_the_schema_refuses_mistakes(schema: dict[str, Any], change: dict[str, Any]) -> None:
    """A misspelt or impossible value is refused before anything is installed."""
    values = documents(CHART / "values.yaml")[0]
    assert not Draft202012Validator(schema).is_valid({**values, **change})


def test_no_value_can_be_taken_away(schema: dict[str, Any]) -> None:
    """Helm removes a default that is set to null; no template would know what to do without."""
    values = documents(CHART / "values.yaml")[0]
    for key, value in values.items():
        assert not Draft202012Validator(schema).is_valid(
            {other: values[other] for other in values if other != key}
        )
        allowed = schema["properties"][key]
        if allowed.get("additionalProperties") is False:
            assert set(allowed["required"]) == set(allowed["properties"]) == set(value)


def test_the_secrets_keys_are_the_charts_own(schema: dict[str, Any]) -> None:
    """Whatever the chart writes into its Secret, ``files`` cannot write there, too."""
    secret = (CHART / "templates" / "secret.yaml").read_text("utf-8")
    written = re.findall(r"^  ([a-z.-]+): \{\{ .* quote \}\}$", secret, re.MULTILINE)
    assert set(schema["properties"]["files"]["properties"]) == set(written)


def test_every_value_is_tried() -> None:
    """The Kubernetes tests render the chart with each value at least once unlike its default."""
    tried: dict[tuple[str, ...], list[Any]] = {}
    for values in VALUES.values():
        for path, value in settings(values):
            for depth in range(1, len(path) + 1):
                tried.setdefault(path[:depth], []).append(value)
    for path, default in settings(documents(CHART / "values.yaml")[0]):
        assert any(value != default for value in tried.get(path, ())), ".".join(path)


def test_every_choice_is_tried(schema: dict[str, Any]) -> None:
    """Where the schema has a list to choose from, each of its entries is a default or tried."""
    chosen = {
        choice
        for values in (*VALUES.values(), documents(CHART / "values.yaml")[0])
        for choice in settings(values)
        if isinstance(choice[1], str)
    }
    offered = set(_choices(schema))
    assert offered
    assert offered <= chosen


def _choices(schema: dict[str, Any], *path: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield every path with an ``enum``, with each of its entries."""
    for name, rule in schema.get("properties", {}).items():
        if isinstance(rule, dict):
            yield from (((*path, name), entry) for entry in rule.get("enum", ()))
            yield from _choices(rule, *path, name)


def test_the_chart_mounts_the_files_it_names() -> None:
    """Each file that a variable points to is a key of the chart's Secret, and documented."""
    helpers = (CHART / "templates" / "_helpers.tpl").read_text("utf-8")
    named = set(re.findall(r"value: /etc/pgbroker/(\S+)", helpers))
    secret = (CHART / "templates" / "secret.yaml").read_text("utf-8")
    values = (CHART / "values.yaml").read_text("utf-8")
    assert named == {"password", "encryption-keys", "state-dsn", "servers.yaml"}
    for key in named:
        assert f"\n  {key}: " in secret
        assert f"`{key}`" in values


def test_the_walkthrough_asks_for_what_the_catalog_offers() -> None:
    """The instance names an offering and a plan of the default catalog, and valid parameters."""
    spec = document(WALKTHROUGH / "02-instance.yaml", "ServiceInstance")["spec"]
    plans = {
        (offering.name, plan.name)
        for offering in load_catalog(ROOT / "catalog.yaml").offerings
        for plan in offering.plans
    }
    asked = (spec["clusterServiceClassExternalName"], spec["clusterServicePlanExternalName"])
    assert asked in plans
    assert parse_init_db_args(spec["parameters"]["init-db-args"]).data_checksums


def test_the_walkthroughs_objects_refer_to_one_another() -> None:
    """Every reference from one manifest to another names an object that is there."""
    secret = document(WALKTHROUGH / "01-broker.yaml", "Secret")
    broker = document(WALKTHROUGH / "01-broker.yaml", "ClusterServiceBroker")["spec"]
    instance = document(WALKTHROUGH / "02-instance.yaml", "ServiceInstance")
    binding = document(WALKTHROUGH / "03-binding.yaml", "ServiceBinding")["spec"]
    rotated = document(WALKTHROUGH / "05-rotation.yaml", "ServiceBinding")["spec"]
    program = document(WALKTHROUGH / "04-application.yaml", "ConfigMap")["metadata"]["name"]
    deployment = document(WALKTHROUGH / "04-application.yaml", "Deployment")["spec"]
    pod = deployment["template"]["spec"]

    login = broker["authInfo"]["basic"]["secretRef"]
    assert login == {key: secret["metadata"][key] for key in ("name", "namespace")}
    assert set(secret["stringData"]) == {"username", "password"}
    assert binding["instanceRef"] == {"name": instance["metadata"]["name"]}
    assert rotated["instanceRef"] == binding["instanceRef"]
    assert rotated["secretName"] != binding["secretName"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert volumes["postgres"]["secret"]["secretName"] == binding["secretName"]
    assert volumes["application"]["configMap"]["name"] == program
    (container,) = pod["containers"]
    (variable,) = container["env"]
    assert variable["valueFrom"]["secretKeyRef"] == {"name": binding["secretName"], "key": "uri"}
    values = documents(CHART / "values.yaml")[0]
    assert container["image"] == f"{values['image']['repository']}:{__version__}"
    assert values["tls"]["source"] == "selfSigned"
    host = f"pgbroker.{secret['metadata']['namespace']}.svc"
    assert broker["url"] == f"https://{host}:{values['service']['port']}"
