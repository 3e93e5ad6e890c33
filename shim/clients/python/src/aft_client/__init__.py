"""A client of AFT's HTTP API. Standard library only; Python 3.9 or newer.

    client = Client("http://127.0.0.1:7400")

    def order(t):
        stock = t.get("stock/tea")
        left = int(stock.bytes) if stock else 0
        if left == 0:
            return "sold out"
        t.put("stock/tea", str(left - 1))
        t.put("orders/21", "1 tea")
        return "sold"

    ran = client.run("order-21", order)      # takes effect once, also if it is called again
    ran.result, ran.replayed                 # b"sold", False

Concurrent runs: runs are serializable. If two runs read the same stock and both take one from it,
    one
commits, and the other runs again, so that no order is lost (`Client.run`).

Safe retries: a call that cannot commit is repeated freely, in a new transaction, since the old
transaction's writes were never visible to others. A call that commits is repeated only in a form
that can commit neither twice nor in part: the same call on the same transaction, or another attempt
under the same request ID. Where neither is possible, the error is `Unknown`.
(docs/decisions/0008-clients.md)

Threads may share a `Client`; a `Transaction` is used by one thread at a time. Values are bytes;
text is written as UTF-8. `aft_client.aio` has the same client for asyncio.
"""

from typing import TYPE_CHECKING, Any

from .client import Client
from .errors import (AftError, ConditionFailed, Internal, Invalid, InProgress, KeyReused, NotFound, ResultGone, Retry,
                     SessionLost, Unauthorized, Unavailable, Unknown)
from .session import merge_sessions
from .transaction import Stream, Transaction
from .values import Executed, Found, Listed, Op, Ran, Read, Value

if TYPE_CHECKING:
    from . import aio

__version__ = "0.1.0"

__all__ = [
    "Client", "Transaction", "Stream", "Op", "Ran", "Executed", "Value", "Read", "Listed", "Found", "merge_sessions",
    "AftError", "Retry", "Unavailable", "Unknown", "InProgress", "KeyReused", "ResultGone", "Invalid",
    "ConditionFailed", "SessionLost", "NotFound", "Unauthorized", "Internal", "aio", "__version__",
]


def __getattr__(name: str) -> Any:
    # asyncio takes long to load, and a blocking program does not need it.
    if name == "aio":
        import importlib
        return importlib.import_module(".aio", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
