"""The demo's data, and the work that a driver does on them: reads, writes, a transaction, and something refused."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure

CITIES = ("Amsterdam", "Bergen", "Genova", "Lisboa", "Porto", "Rīga", "Tromsø", "Valletta")
GOODS = ("lamp", "rope", "compass", "kettle", "sail", "lantern", "anchor", "chart", "barometer", "oilskin")
ORDERS = 500
LAST_COMMAND = "createUser"


@dataclass(frozen=True, slots=True)
class Done:
    """What `work` did."""

    reads: int
    writes: int
    refusal_code: int


def seed(client: Any) -> int:
    """Customers and orders, the same ones every time; how many orders."""
    first = datetime(2026, 1, 1, tzinfo=UTC)
    client.shop.customers.insert_many({"_id": number, "city": city} for number, city in enumerate(CITIES))
    client.shop.orders.insert_many(
        {
            "_id": number,
            "customer": number % len(CITIES),
            "item": GOODS[number * 7 % len(GOODS)],
            "quantity": number % 5 + 1,
            "total": (number * 37 % 900 + 100) / 10,
            "status": "paid" if number % 3 else "open",
            "at": first + timedelta(hours=number),
        }
        for number in range(ORDERS)
    )
    client.shop.orders.create_index("status")
    return ORDERS


def work(uri: str) -> Done:
    """Use the URI as any application would: PyMongo, no user name, no password."""
    with MongoClient[dict[str, Any]](uri, appname="wardgate-demo", serverSelectionTimeoutMS=20_000) as client:
        orders = client.shop.orders
        reads = len(list(orders.find({"status": "open"}, batch_size=60)))  # several batches
        reads += len(list(orders.aggregate([{"$group": {"_id": "$item", "sum": {"$sum": "$total"}}}])))
        writes = orders.update_many({"status": "open", "_id": {"$lt": 30}}, {"$set": {"status": "paid"}}).modified_count
        orders.insert_one({"_id": ORDERS, "customer": 3, "item": "sextant", "quantity": 1, "status": "open"})
        with client.start_session() as session, session.start_transaction():
            orders.update_one({"_id": ORDERS}, {"$inc": {"quantity": 1}}, session=session)
            client.shop.customers.update_one({"_id": 3}, {"$inc": {"orders": 1}}, session=session)
        return Done(reads=reads, writes=writes + 3, refusal_code=_refused(client))


def _refused(client: Any) -> int:
    """The code of a command that would outlive the session: the gateway refuses it, MongoDB never sees it."""
    try:
        client.admin.command("createUser", "backdoor", pwd="left-behind", roles=["root"])  # noqa: S106 - refused
    except OperationFailure as error:
        return error.code or 0
    raise RuntimeError("createUser went through")
