"""What the service needs from the outside world, as protocols; ``bootstrap`` supplies them."""

from broker.service.ports.deleted import DeletedRecords, DeletedRecordsTransaction
from broker.service.ports.engine import DatabaseSession, Engine
from broker.service.ports.runner import Clock, Runner
from broker.service.ports.servers import Servers
from broker.service.ports.state import Census, DriftRecords, FigureRecords, Store
from broker.service.ports.tags import Tags
from broker.service.ports.transaction import StateTransaction
from broker.service.ports.warm import Stock, WarmRecords

__all__ = [
    "Census",
    "Clock",
    "DatabaseSession",
    "DeletedRecords",
    "DeletedRecordsTransaction",
    "DriftRecords",
    "Engine",
    "FigureRecords",
    "Runner",
    "Servers",
    "StateTransaction",
    "Stock",
    "Store",
    "Tags",
    "WarmRecords",
]
