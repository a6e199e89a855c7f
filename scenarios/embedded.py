"""How does a service probe its own model while it serves?

The engine runs inside any asyncio service: it installs no signal handler, prints nothing and leaves nothing behind.
This service is an aiohttp application whose /health returns the latest second of its probe.

    python scenarios/embedded.py          then: curl http://127.0.0.1:8080/health
"""

import asyncio
import json
from collections.abc import AsyncIterator

from aiohttp import web

from loadgen import Emulated, OpenLoop, OutcomeCategory, Request, ServerlessConfig, Window, constant, even, run

LATEST: web.AppKey[dict[str, float]] = web.AppKey("latest")


async def health(request: web.Request) -> web.Response:
    """Return the latest second of the probe."""
    return web.json_response(request.app[LATEST])


async def probe(app: web.Application) -> AsyncIterator[None]:
    """Call the model twice a second while the service runs."""

    def keep(window: Window) -> None:
        app[LATEST].update(
            second=window.start, ok=window.count(OutcomeCategory.OK), failed=window.count(OutcomeCategory.FAILED)
        )

    stop = asyncio.Event()
    # In production: Existing("ranker-prod").open()
    async with Emulated("xgboost").open(ServerlessConfig(2048, max_concurrency=2)) as transport:
        load = OpenLoop(even(constant(2)), duration=86_400)
        body = json.dumps([1.0, 2.0, 3.0]).encode()
        probing = asyncio.create_task(
            run(load, transport, [Request(body, content_type="application/json")], on_window=keep, stop=stop)
        )
        yield
        stop.set()
        await probing


def service() -> web.Application:
    """Return the application."""
    app = web.Application()
    app[LATEST] = {}
    app.router.add_get("/health", health)
    app.cleanup_ctx.append(probe)
    return app


if __name__ == "__main__":
    web.run_app(service(), host="127.0.0.1", port=8080)
