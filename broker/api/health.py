"""What an orchestrator asks: ``/healthz`` (the process runs) and ``/readyz`` (it can work).

Load balancers ask with HEAD.
"""

from typing import TYPE_CHECKING

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from broker.api.errors import plain_error
from broker.domain.errors import BrokerError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

router = APIRouter()


@router.head("/healthz", include_in_schema=False)
@router.get("/healthz")
async def healthz() -> JSONResponse:
    """Answer, which is all there is to prove."""
    return JSONResponse({"status": "ok"})


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz")
async def readyz(request: Request) -> JSONResponse:
    """Tell whether the state database can be used."""
    check: Callable[[], Awaitable[None]] = request.app.state.check_ready
    try:
        await check()
    except BrokerError as exc:
        return plain_error(503, exc.description)
    return JSONResponse({"status": "ready"})
