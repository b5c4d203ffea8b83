"""The API: GET only, over one installation. Routes and nothing else; what they answer is built elsewhere."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta, timezone
from typing import Annotated, Any, Literal

import structlog
from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import StreamingResponse
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dashboard import answers, meter_views, overview
from dashboard.access import Gate
from dashboard.events import Streams
from dashboard.installation import Installation
from dashboard.json_answer import encode, json_response, reply
from dashboard.meter_views import POINTS, UnknownMeterError
from dashboard.metrics import CONTENT_TYPE, Metrics
from dashboard.page import STATIC, PageFiles, index
from dashboard.refreshed import Refreshed
from model.errors import StorageError

ALARMS_AT_HAND = 100
"""Alarms among which streams look for new ones."""

_DAY = timedelta(days=1)
_EARLIEST = datetime(1970, 1, 1, tzinfo=timezone.utc)
_LATEST = datetime(2200, 1, 1, tzinfo=timezone.utc)

log = structlog.get_logger()

_Responses = dict[int | str, dict[str, Any]]
_REFUSED: _Responses = {
    400: {"model": answers.Refusal, "description": "The Host header names another host."},
    401: {"model": answers.Refusal, "description": "A token is needed."},
    422: {"model": answers.Refusal, "description": "An argument that means nothing."},
    503: {"model": answers.Refusal, "description": "It cannot be told now; says why and what to do."},
}
_UNKNOWN: _Responses = {404: {"model": answers.Refusal, "description": "There is no such meter."}}

_Sort = Literal[
    "id", "-id", "state", "-state", "last_good", "-last_good", "read_time", "-read_time", "gaps", "-gaps", "success", "-success"
]


class Api:
    """The application and what it holds open.

    :arg token: what is asked for; None lets everybody pass. :arg check_host: see `Gate`.
    """

    def __init__(self, installation: Installation, token: str | None = None, check_host: bool = True) -> None:
        self.installation = installation
        self._overview = Refreshed(lambda: overview.overview(installation), lifetime=1.0)
        self._overview_json = Refreshed(lambda: encode(self._overview.get()), lifetime=0.5)
        self._flow = Refreshed(lambda: encode(overview.graph(installation)), lifetime=1.0)
        self._gaps = Refreshed(lambda: encode(meter_views.gaps(installation, None)), lifetime=2.0)
        self._metrics = Refreshed(Metrics(installation).text, lifetime=2.0)
        self.streams = Streams(
            self._overview.get, Refreshed(lambda: overview.alarms(installation, None, ALARMS_AT_HAND).alarms, lifetime=1.0).get
        )
        self.application = FastAPI(
            title="dlms-thingsboard",
            version="1",
            summary="What a running pipeline has read, delivered and found wrong. Nothing can be changed here.",
            docs_url=None,
            redoc_url=None,
            lifespan=self._lifespan,
        )
        self._add_errors()
        self._add_routes()
        self._add_meter_routes()
        self.application.add_middleware(NeverA500)
        self.application.add_middleware(Gate, token=token, check_host=check_host)

    @asynccontextmanager
    async def _lifespan(self, _application: FastAPI) -> AsyncIterator[None]:
        threading.Thread(target=self._look_ahead, name="first look", daemon=True).start()
        yield
        self.streams.stop()
        self.installation.close()

    def _look_ahead(self) -> None:
        """What the first page will show, so that nobody waits for it."""
        with suppress(Exception):  # told to whoever asks
            self._overview.get()

    def _get(self, path: str, model: type[answers.Answer], more: Mapping[int | str, dict[str, Any]] = {}) -> Callable[[Any], Any]:
        return self.application.get(path, response_model=model, responses={**_REFUSED, **more})

    def _add_routes(self) -> None:
        installation = self.installation

        @self._get("/health", answers.Health)
        def get_health() -> Response:
            """The verdict over everything, with what led to it; 200 also when it is critical."""
            return reply(overview.health(installation))

        @self._get("/ready", answers.Ready, {503: {"model": answers.Ready, "description": "Not ready; says why."}})
        def get_ready() -> Response:
            """200 only when meters are being read and the session to ThingsBoard is up."""
            answer = overview.ready(installation)
            return reply(answer, 200 if answer.ready else 503)

        @self.application.get(
            "/metrics",
            response_class=Response,
            responses={**_REFUSED, 200: {"content": {CONTENT_TYPE.partition(";")[0]: {"schema": {"type": "string"}}}}},
        )
        def get_metrics() -> Response:
            """Everything that can be counted, in the text format of Prometheus."""
            return Response(self._metrics.get(), media_type=CONTENT_TYPE, headers={"Cache-Control": "no-store"})

        @self._get("/overview", answers.Overview)
        def get_overview() -> Response:
            """Everything at a glance."""
            return json_response(self._overview_json.get())

        @self._get("/flow", answers.FlowGraph)
        def get_flow() -> Response:
            """The flow as nodes and wires, with what comes out of each."""
            return json_response(self._flow.get())

        @self._get("/alarms", answers.Alarms)
        def get_alarms(standing: bool | None = None, limit: Annotated[int, Query(ge=1, le=500)] = 100) -> Response:
            """Alarms, newest first: those that stand, those that are over, or both where `standing` is left out."""
            return reply(overview.alarms(installation, standing, limit))

        @self._get("/config", answers.Configuration)
        def get_config() -> Response:
            """The configuration file as it is written, with every secret masked."""
            return reply(overview.configuration(installation))

        @self.application.get(
            "/events",
            response_class=StreamingResponse,
            responses={**_REFUSED, 200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
        )
        async def get_events() -> Response:
            """Server-sent events: `overview` when it changes, `alarm` for each that is raised or cleared."""
            if self.streams.full:
                return reply(answers.Refusal(detail="too many streams are open; close a page, or ask /overview"), 503)
            headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
            return StreamingResponse(self.streams.events(), media_type="text/event-stream", headers=headers)

        @self.application.get("/", include_in_schema=False)
        def get_page() -> Response:
            return index()

        if STATIC.is_dir():
            self.application.mount("/static", PageFiles(directory=STATIC))

    def _add_meter_routes(self) -> None:
        installation = self.installation

        @self._get("/meters", answers.MeterPage)
        def get_meters(
            search: Annotated[str, Query(max_length=200, description="Words that id, device, template, address or tags contain.")] = "",
            state: Literal["", "green", "yellow", "red", "unknown"] = "",
            sort: Annotated[_Sort, Query(description="id, or the worst first by one of the others; a minus turns it round.")] = "id",
            limit: Annotated[int, Query(ge=1, le=500)] = 50,
            offset: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
        ) -> Response:
            """Some of the meters, with their newest values."""
            return reply(meter_views.meter_page(installation, search, state, sort, limit, offset))

        @self._get("/meters/{meter_id}", answers.MeterDetail, _UNKNOWN)
        def get_meter(meter_id: str) -> Response:
            """All about one meter."""
            return reply(meter_views.meter_detail(installation, meter_id))

        @self._get("/readings", answers.Readings)
        def get_readings(
            meter: Annotated[str, Query(max_length=200)],
            key: Annotated[str, Query(max_length=500)],
            start: Annotated[datetime | None, Query(description="A day before `end` where left out; UTC where it names no offset.")] = None,
            end: Annotated[datetime | None, Query(description="Now where left out.")] = None,
            limit: Annotated[int, Query(ge=2, le=POINTS)] = POINTS,
        ) -> Response:
            """One curve; of more readings than `limit` the least and the greatest of each stretch of time."""
            until = _clamped(end) or installation.now() + timedelta(seconds=1)
            since = _clamped(start) or max(_EARLIEST, until - _DAY)
            return reply(meter_views.readings(installation, meter, key, since, until, limit))

        @self._get("/gaps", answers.Gaps)
        def get_gaps(meter: Annotated[str, Query(max_length=200)] = "") -> Response:
            """What is missing of the load profiles, of one meter or of all."""
            return reply(meter_views.gaps(installation, meter)) if meter else json_response(self._gaps.get())

    def _add_errors(self) -> None:
        """Every error is a sentence; none is a 500."""

        @self.application.exception_handler(RequestValidationError)
        async def mistaken(_request: Request, error: RequestValidationError) -> Response:
            found = "; ".join(f"{'.'.join(map(str, problem['loc'][1:]))}: {problem['msg']}" for problem in error.errors())
            return reply(answers.Refusal(detail=found), 422)

        @self.application.exception_handler(UnknownMeterError)
        async def unknown(_request: Request, error: UnknownMeterError) -> Response:
            detail = f"there is no meter {error.args[0]!r}, neither in pipeline.yaml nor in the archive"
            return reply(answers.Refusal(detail=detail), 404)

        @self.application.exception_handler(StorageError)
        async def unreadable(_request: Request, error: StorageError) -> Response:
            return reply(answers.Refusal(detail=f"{error.what}; {error.remedy}"), 503)

        @self.application.exception_handler(HTTPException)
        async def refused(_request: Request, error: HTTPException) -> Response:
            return reply(answers.Refusal(detail=str(error.detail)), error.status_code)


class NeverA500:
    """ASGI middleware: what nobody foresaw is logged, and said in a sentence like every other refusal."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = begun or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:
            if begun or scope["type"] != "http":
                raise
            log.exception("a question could not be answered", path=scope["path"])
            detail = f"the question could not be answered: {type(error).__name__}; the dashboard's log says more"
            await reply(answers.Refusal(detail=detail), 503)(scope, receive, send)


def _clamped(moment: datetime | None) -> datetime | None:
    """`moment` as aware UTC, within what milliseconds since 1970 can say."""
    if moment is None:
        return None
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=timezone.utc)
    try:
        return min(max(aware.astimezone(timezone.utc), _EARLIEST), _LATEST)
    except OverflowError:
        return _EARLIEST if aware.year < 2000 else _LATEST
