"""The dashboard's page: one document with its style and script, whose policy allows nothing from elsewhere."""
from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from importlib import resources

from darknet_py.training.report_page import STYLE

POLICY = ("default-src 'none'; connect-src 'self'; img-src 'self' data:; script-src '{}'; style-src '{}'; "
          "base-uri 'none'; form-action 'none'; frame-ancestors 'none'")


@cache
def page() -> tuple[bytes, str]:
    """The document, and the lines of its header that say what it may load."""
    html = resources.files("darknet_py.live").joinpath("dashboard.html").read_text("utf-8")
    html = html.replace("/* the report's */", STYLE)
    script, style = (_digest(re.findall(f"<{tag}>(.*?)</{tag}>", html, re.S)[0]) for tag in ("script", "style"))
    return html.encode(), (f"Content-Security-Policy: {POLICY.format(script, style)}\r\n"
                           "X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n"
                           "Cross-Origin-Resource-Policy: same-origin\r\n")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
