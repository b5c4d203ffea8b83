"""The page's own files: whatever is in `dashboard/static`, asked for anew each time, so that an update is seen at once."""

from __future__ import annotations

from pathlib import Path

from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

STATIC = Path(__file__).parent / "static"
_REVALIDATE = "no-cache"
_NOTHING_HERE = "The page is not installed; the API answers all the same, see /openapi.json.\n"


class PageFiles(StaticFiles):
    """Files with an ETag that the browser must ask about before it shows its copy."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """One file, or 304 where the browser has it already."""
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = _REVALIDATE
        return response


def index() -> Response:
    """The page itself."""
    file = STATIC / "index.html"
    if not file.is_file():
        return Response(_NOTHING_HERE, media_type="text/plain; charset=utf-8")
    return FileResponse(file, media_type="text/html; charset=utf-8", headers={"Cache-Control": _REVALIDATE})
