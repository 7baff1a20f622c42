"""A plan with ``warm``: ``pgbroker serve`` and ``pgbroker warm``."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.support.catalog import BIG, CATALOG, with_warm
from tests.support.platform import Platform, new_id
from tests.support.process import PASSWORD, USERNAME, BrokerProcess, run_program, running_broker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WARM = 2
CHANGED = "LISTEN warm"
TELL = """
    CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN NOTIFY warm; RETURN NULL; END $$;
    CREATE TRIGGER tell AFTER INSERT OR UPDATE OR DELETE ON pgbroker.warm_databases
        FOR EACH STATEMENT EXECUTE FUNCTION tell()
"""


class Stock:
    """What the state says of the stock."""

    def __init__(self, dsn: str) -> None:
        self._state = psycopg.connect(dsn, autocommit=True)
        self._state.execute(TELL)
        self._state.execute(CHANGED)

    def close(self) -> None:
        """Do not look any more."""
        self._state.close()

    def ready(self) -> set[str]:
        """Return the names of what is ready."""
        found = self._state.execute(
            "SELECT database FROM pgbroker.warm_databases WHERE state = 'ready'"
        )
        return {name for (name,) in found}

    def filled(self) -> set[str]:
        """Wait until it has what the plan says, and return their names."""
        for _ in range(100):
            ready = self.ready()
            if len(ready) == WARM:
                return ready
            for _ in self._state.notifies(timeout=10, stop_after=1):
                pass
        raise AssertionError(f"the stock is {ready}")

    def database_of(self, instance: str) -> str:
        """Return the name of an instance's database."""
        row = self._state.execute(
            "SELECT database FROM pgbroker.instances WHERE instance_id = %s", [instance]
        ).fetchone()
        assert row is not None
        name: str = row[0]
        return name


@pytest.fixture
def warm_environment(with_all_plans: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """Return the environment of a broker whose first plan keeps databases ready."""
    (tmp_path / "catalog.yaml").write_text(with_warm(WARM), "utf-8")
    return with_all_plans


@pytest.fixture
def stock(state_dsn: str) -> Iterator[Stock]:
    """Return the stock of the broker of this test."""
    stock = Stock(state_dsn)
    yield stock
    stock.close()


@pytest.fixture
def broker(
    warm_environment: dict[str, str], stock: Stock, tmp_path: Path
) -> Iterator[BrokerProcess]:
    """Return a broker with a full stock; in the end there is none any more."""
    with running_broker(warm_environment, tmp_path / "broker.log") as broker:
        stock.filled()
        yield broker
    (tmp_path / "catalog.yaml").write_text(CATALOG, "utf-8")
    released = run_program("warm", "release", environ=warm_environment)
    assert released.returncode == 0, released.stderr
    assert stock.ready() == set()


def test_a_stock_serves_a_burst_and_is_filled_again(broker: BrokerProcess, stock: Stock) -> None:
    """The first come get what is ready, the others what is made for them; all can be used."""
    before = stock.filled()
    made = [new_id() for _ in range(WARM + 2)]
    with (
        Platform(broker.url, (USERNAME, PASSWORD)) as platform,
        ThreadPoolExecutor(len(made)) as pool,
    ):
        answers = list(pool.map(platform.provision, made))
        assert [answer.status_code for answer in answers] == [201] * len(made)
        assert before < {stock.database_of(instance) for instance in made}
        assert not before & stock.filled()
        for instance in made:
            bound = platform.bind(instance, "app")
            assert bound.status_code == 201
            with psycopg.connect(bound.json()["credentials"]["uri"]) as tenant:
                tenant.execute("CREATE TABLE mine (word citext)")
            assert platform.provision(instance).status_code == 200
            assert platform.deprovision(instance).status_code == 200


def test_extensions_are_added_and_other_databases_are_made(
    broker: BrokerProcess, stock: Stock
) -> None:
    """A database of the stock gets what it lacks; what it cannot become is made."""
    before = stock.filled()
    asked, other = new_id(), new_id()
    with Platform(broker.url, (USERNAME, PASSWORD)) as platform:
        extended = platform.provision(asked, parameters={"extensions": ["hstore"]})
        assert extended.status_code == 201
        assert stock.database_of(asked) in before
        uri = platform.bind(asked, "app").json()["credentials"]["uri"]
        with psycopg.connect(uri) as tenant:
            assert tenant.execute("SELECT 'a=>1'::hstore -> 'a'").fetchone() == ("1",)
        latin = platform.provision(
            other, parameters={"init-db-args": "--encoding=LATIN1 --locale=C"}
        )
        assert latin.status_code == 201
        assert stock.database_of(other) not in before
        for instance in (asked, other):
            assert platform.deprovision(instance).status_code == 200


def test_a_full_server_gives_what_is_ready_and_the_stock_yields(
    warm_environment: dict[str, str], stock: Stock, tmp_path: Path
) -> None:
    """The stock never keeps anybody from a database: it is given away, or makes room."""
    servers_file = tmp_path / "servers.yaml"
    servers = json.loads(servers_file.read_text("utf-8"))["servers"]
    limited = [server | {"max_databases": WARM} for server in servers]
    servers_file.write_text(json.dumps({"servers": limited}), "utf-8")
    with (
        running_broker(warm_environment, tmp_path / "broker.log") as broker,
        Platform(broker.url, (USERNAME, PASSWORD)) as platform,
    ):
        before = stock.filled()
        other = platform.provisioned(BIG)
        assert stock.database_of(other) not in before
        assert len(stock.ready()) == WARM - 1
        same = platform.provisioned()
        assert stock.database_of(same) in before
        full = platform.provision(new_id())
        assert full.status_code == 503
        assert "no room for another database" in full.json()["description"]
        assert stock.ready() == set()
        assert platform.deprovision(same).status_code == 200
        assert platform.deprovision(other, BIG).status_code == 200
    assert run_program("warm", "release", environ=warm_environment).returncode == 0


def test_the_stock_is_shown_and_released(
    broker: BrokerProcess, stock: Stock, warm_environment: dict[str, str]
) -> None:
    """Operators see what there is; what they release is dropped, and made anew while it serves."""
    before = stock.filled()
    shown = run_program("warm", "list", "--json", environ=warm_environment)
    (shelf,) = json.loads(shown.stdout)
    assert (shelf["server"], shelf["plan"], shelf["wanted"], shelf["ready"]) == (
        "shared",
        "small",
        WARM,
        WARM,
    )
    table = run_program("warm", "list", environ=warm_environment).stdout
    assert "outdated" in table
    unknown = run_program("warm", "release", "--server", "nemo", environ=warm_environment)
    assert unknown.returncode == 1
    assert "shared" in unknown.stderr
    assert stock.ready() == before
    released = run_program("warm", "release", "--server", "shared", environ=warm_environment)
    assert released.returncode == 0, released.stderr
    assert f"Dropped: {WARM}." in released.stdout
    with Platform(broker.url, (USERNAME, PASSWORD)) as platform:
        instance = platform.provisioned()
        assert not before & stock.filled()
        assert platform.deprovision(instance).status_code == 200


def test_a_stock_that_no_record_knows_is_dropped(
    warm_environment: dict[str, str], stock: Stock, state_dsn: str, tmp_path: Path
) -> None:
    """After the state was lost one command drops what was the stock, and all is as it should be."""
    with running_broker(warm_environment, tmp_path / "broker.log"):
        stock.filled()
    with psycopg.connect(state_dsn, autocommit=True) as state:
        state.execute("DELETE FROM pgbroker.warm_databases")
    found = run_program("reconcile", "--json", environ=warm_environment)
    assert found.returncode == 1
    assert "lost_state" not in found.stdout
    assert "pgbroker warm release --unknown" in found.stdout
    dropped = run_program("warm", "release", "--unknown", environ=warm_environment)
    assert (dropped.returncode, dropped.stdout) == (0, f"Dropped: {WARM}.\n"), dropped.stderr
    assert run_program("reconcile", environ=warm_environment).returncode == 0
