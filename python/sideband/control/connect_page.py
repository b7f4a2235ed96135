"""The page at /connect: what to run with the Quick Connect code in the address.

The code is in the address's fragment, so no browser sends it. The page's script shows it; the page sends nothing and
loads nothing.
"""

from __future__ import annotations

import base64
import hashlib

from aiohttp import web

__all__ = ["connect_page"]

_SCRIPT = """
const code = new URLSearchParams(location.hash.slice(1)).get("qc") || "";
if (/^[a-z]{4}-?[a-z]{4}-?[a-z]{4}$/i.test(code)) {
  document.getElementById("command").textContent = "sideband connect " + code + " --api " + location.origin;
}
"""

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 40rem; margin: 4rem auto; padding: 0 1rem; }
pre { background: #f0f0f3; color: #111; padding: 1rem; overflow-x: auto; border-radius: .4rem; }
@media (prefers-color-scheme: dark) { body { background: #16161a; color: #e8e8ea; } }
"""

_PAGE = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Connect with sideband</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>Connect with sideband</h1>
<p>Run this in a terminal:</p>
<pre id="command">sideband connect CODE</pre>
<p>The code works once and for a short time. It is end-to-end encrypted from there: compare the fingerprint that the
command shows with the one the daemon shows. Without sideband yet: <code>pip install sideband</code>.</p>
<script>{_SCRIPT}</script>
</body>
</html>
"""


def _hash(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


_HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; script-src {_hash(_SCRIPT)}; style-src {_hash(_STYLE)}; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


async def connect_page(_request: web.Request) -> web.Response:
    """Answer with the page."""
    return web.Response(text=_PAGE, content_type="text/html", headers=_HEADERS)
