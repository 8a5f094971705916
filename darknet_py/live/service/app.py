"""The web application of the service: its paths, their parameters and answers."""
import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Request, Response, WebSocket
from fastapi import Query as Parameter
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from darknet_py.live.service.answers import (
    MOST_BOXES,
    BoxesAnswer,
    CocoResult,
    DarknetFrame,
    ErrorAnswer,
    Form,
    Models,
    Result,
    StreamAnswer,
    boxes_body,
    coco_body,
    darknet_body,
    error_body,
    picture_body,
)
from darknet_py.live.service.docs import docs_page
from darknet_py.live.service.gate import Gate
from darknet_py.live.service.service import Query, Service
from darknet_py.live.service.stream import Streams
from darknet_py.live.service.uploads import JsonImages, Refused, read_uploads
from darknet_py.utils.version import __version__

PAGE = Path(__file__).parent / "page"
KINDS = {".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".ico": "image/x-icon",
         ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml", ".png": "image/png"}
POLICY = ("default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self' "
          "blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
HEADERS = {"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
           "Cache-Control": "no-cache"}
FEW = 100               # boxes that are written at once; of more a thread writes, and others are answered meanwhile
FILE = {"type": "string", "format": "binary"}
BODY = {"required": True, "content": {
    "multipart/form-data": {"schema": {"type": "object", "required": ["file"], "properties": {
        "file": {"type": "array", "minItems": 1, "items": FILE}}}},
    "application/json": {"schema": {"$ref": "#/components/schemas/JsonImages"}},
    "image/*": {"schema": FILE}, "application/octet-stream": {"schema": FILE}}}
SCHEMAS = (BoxesAnswer, CocoResult, DarknetFrame, JsonImages, StreamAnswer)     # that FastAPI does not see in a path
FORMS: dict[int | str, dict[str, Any]] = {200: {"description": "What was found, as format= names it", "content": {
    "application/json": {"schema": {"anyOf": [
        {"$ref": "#/components/schemas/DarknetFrame"},
        {"type": "array", "items": {"$ref": "#/components/schemas/DarknetFrame"}},
        {"type": "array", "items": {"$ref": "#/components/schemas/CocoResult"}},
        {"$ref": "#/components/schemas/BoxesAnswer"}]}},
    "image/jpeg": {"schema": FILE}, "image/png": {"schema": FILE}}}}
WHY = {400: "the request is no HTTP", 401: "there is a token, and the request does not bear it",
       404: "there is no such path", 405: "the path takes another method",
       408: "the body did not come in time", 413: "the body, a picture or their number is too large",
       415: "the body is of an unknown type, or no picture", 422: "a parameter or the body is not as it must be",
       429: "the queue is full", 503: "the time is over, or the service shuts down"}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The answers of a path that are errors."""
    return {status: {"model": ErrorAnswer, "description": WHY[status]} for status in statuses}


def make_app(service: Service, report: Callable[[str], None] = lambda line: None) -> FastAPI:
    """The application; it closes the service at its end.

    Args:
        report: takes a line about an unexpected error.
    """
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        service.stopping = True
        await asyncio.to_thread(service.close)

    app = FastAPI(title="darknet-py serve", version=__version__, docs_url=None, redoc_url=None, lifespan=lifespan,
                  description="Finds objects in pictures.", openapi_url=None)
    app.add_middleware(Gate, token=service.settings.token, metrics=service.metrics, report=report)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _no_path)
    app.add_exception_handler(ClientDisconnect, _gone)
    settings = service.settings
    names, streams = list(service.engines), Streams(service)

    @app.post("/detect", response_class=Response, openapi_extra={"requestBody": BODY},
              responses={**FORMS, **errors(401, 408, 413, 415, 422, 429, 503)})
    async def detect(
            request: Request,
            thresh: Annotated[float, Parameter(ge=0, le=1, allow_inf_nan=False, description="scores are above it")
                              ] = settings.thresh,
            nms: Annotated[float, Parameter(ge=0, le=1, allow_inf_nan=False, description="overlap above which the less "
                                            "confident box of a class is suppressed; 0: none is")] = settings.nms,
            model: Annotated[str, Parameter(description="the network, see /models", json_schema_extra={"enum": names})
                             ] = service.default,
            format: Annotated[Form, Parameter(description="darknet: Darknet's JSON; coco: COCO's results; boxes: in "
                                              "pixels, with times; image: the picture with its boxes")] = "darknet",
            max_boxes: Annotated[int, Parameter(ge=1, le=MOST_BOXES, description="the most boxes of a picture")
                                 ] = MOST_BOXES) -> Response:
        """Find objects in one or more pictures."""
        begin = time.perf_counter()
        query = Query(service.engine(model), thresh, nms, format, max_boxes)
        async with body_of(request, service) as body:
            kind = request.headers.get("content-type", "")
            reading = (read_uploads, body, kind, settings.allow_urls)
            uploads = read_uploads(*reading[1:]) if kind.startswith("image/") else await service.call(*reading)
            if format == "image" and len(uploads) > 1:
                raise Refused(422, "WRONG_COUNT", f"format=image takes one picture, found {len(uploads)}")
            results = await service.detect(uploads, query)
        few = format != "image" and sum(len(one.detections or ()) for one in results) <= FEW
        if few:
            return _answer(results, query, begin)
        return await asyncio.wrap_future(query.engine.do(_answer, results, query, begin))

    @app.get("/models", response_model=Models, responses=errors(401))
    async def models() -> Models:
        """The networks of the service."""
        return service.models()

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Whether the service lives."""
        return {"status": "ok"}

    @app.get("/readyz", responses=errors(503))
    async def readyz() -> dict[str, str]:
        """Whether the service takes requests."""
        if not service.ready:
            raise Refused(503, "SHUTTING_DOWN" if service.stopping else "NETWORK", "the service takes no requests")
        return {"status": "ready"}

    @app.get("/metrics", response_class=Response, responses={
        200: {"description": "Figures for Prometheus", "content": {"text/plain": {"schema": {"type": "string"}}}},
        **errors(401)})
    async def metrics() -> Response:
        """Counts and times."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.websocket("/stream")
    async def stream(socket: WebSocket) -> None:
        await streams.serve(socket)

    description = app.openapi()
    if settings.token is not None:
        description["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        for path in ("/detect", "/models", "/metrics"):
            for operation in description["paths"][path].values():
                operation["security"] = [{"token": []}]
    description["components"]["schemas"].update(models_json_schema(
        [(schema, "validation" if schema is JsonImages else "serialization") for schema in SCHEMAS],
        ref_template="#/components/schemas/{model}")[1]["$defs"])

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi() -> JSONResponse:
        return JSONResponse(description)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return HTMLResponse(docs_page(description), headers=HEADERS)

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return _file("index.html")

    @app.get("/page/{name}", include_in_schema=False)
    async def page_file(name: str) -> Response:
        return _file(name)

    return app


@asynccontextmanager
async def body_of(request: Request, service: Service) -> AsyncIterator[bytearray]:
    """The body of a request, which counts as held meanwhile.

    Raises:
        Refused: it is too large, compressed, does not come in time, or there are too many others.
    """
    most, seconds = service.settings.max_body, service.settings.time_limit
    refused = Refused(413, "TOO_LARGE", f"expected a body of at most {most} bytes")
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length[:20]) > most:
        raise refused
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Refused(415, "UNSUPPORTED", "expected a body that is not compressed")
    body, held = bytearray(), 0

    async def read() -> None:
        nonlocal held
        async for part in request.stream():
            if len(body) + len(part) > most:
                raise refused
            service.hold(len(part))
            held += len(part)
            body.extend(part)

    try:
        try:
            await asyncio.wait_for(read(), seconds)
        except (asyncio.TimeoutError, TimeoutError):
            raise Refused(408, "TIMEOUT", f"the body did not come within {seconds:g} seconds") from None
        yield body
    finally:
        service.hold(-held)


def _answer(results: list[Result], query: Query, begin: float) -> Response:
    if query.form == "image":
        data, kind = picture_body(results[0])
        return Response(data, media_type=kind)
    if query.form == "darknet":
        text = darknet_body(results)
    elif query.form == "coco":
        refused = next((result.error for result in results if result.error is not None), None)
        if refused is not None:             # COCO's results have no place for it
            raise refused
        text = json.dumps(coco_body(results))
    else:
        engine = query.engine
        text = json.dumps(boxes_body(results, engine.name, engine.detector.names, time.perf_counter() - begin))
    return Response(text.encode("utf-8", "backslashreplace"), media_type="application/json")


def _file(name: str) -> Response:
    """A file of the page."""
    path = PAGE / name
    if path.suffix not in KINDS or path.parent != PAGE or not path.is_file():
        raise Refused(404, "MISSING_FILE", "there is no such path")
    return Response(path.read_bytes(), media_type=KINDS[path.suffix], headers=HEADERS)


async def _refused(request: Request, error: Any) -> Response:
    return JSONResponse(error_body(error), error.status, headers=error.headers)


async def _invalid(request: Request, error: Any) -> Response:
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"][1:]))
    return await _refused(request, Refused(422, "BAD_VALUE", f"{place}: {first['msg']}"))


async def _no_path(request: Request, error: Any) -> Response:
    reason = {404: "MISSING_FILE", 405: "BAD_METHOD"}.get(error.status_code, "BAD_VALUE")
    text = WHY.get(error.status_code, str(error.detail))
    return await _refused(request, Refused(error.status_code, reason, text, error.headers))


async def _gone(request: Request, error: Any) -> Response:
    return Response(status_code=499)        # nobody gets it
