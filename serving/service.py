"""The BentoML service: one process that owns the decision log and serves every packed use case over HTTP.

`risk serve` and plain `bentoml serve` start it. The routes are mounted as an ASGI application, because BentoML's own
endpoints write tracebacks with the input, personal data, into the log. Its access log, metrics and tracing of requests
are off: a decision is counted and logged by us.
"""

from __future__ import annotations

import logging

import bentoml

from configs.settings import load_settings
from serving.desk import Desk
from serving.logs import WithoutMessages
from serving.routes import application

TIMEOUT = 5
"""Seconds until BentoML answers 504; a timer lives that long for every request, so it is short."""

_log = logging.getLogger("bentoml.risk")


desk = Desk(load_settings())


@bentoml.service(
    name="risk",
    workers=1,  # one process writes the decision log
    traffic={"timeout": TIMEOUT},
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
    tracing={"excluded_urls": [".*"]},
)
@bentoml.asgi_app(application(desk), path="/")
class RiskService:
    """Credit and fraud decisions."""

    def __init__(self) -> None:
        logging.getLogger("uvicorn.error").addFilter(WithoutMessages())
        desk.open()
        if desk.trouble:
            _log.error("not ready: %s", desk.trouble)
        else:
            _log.info("serving %s", ", ".join(sorted(desk.windows)))

    async def __is_ready__(self) -> bool:
        """What `/readyz` answers."""
        return await desk.ready()

    async def __is_alive__(self) -> bool:
        """What `/livez` answers: no asks for a restart."""
        return desk.alive

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]  # bentoml is not typed for strict checks
    def close(self) -> None:
        """Give the stores back."""
        desk.close()
