"""A headless Chromium, controlled over its DevTools socket.

Loopback only; the browser runs with a fresh profile and is terminated by its process id.
"""

import asyncio
import base64
import itertools
import json
import shutil
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)
_TIMEOUT = 60.0  # seconds for the browser to come up or to answer; it takes two


class Page:
    """One open tab: commands out, events in."""

    def __init__(self, socket):
        self.messages = []  # console messages, errors, policy violations
        self.requested_urls = []  # every requested URL
        self._socket = socket
        self._ids = itertools.count(1)

    async def call(self, method, **params):
        """Send one command and return its result; events that come before it are kept."""
        number = next(self._ids)
        await self._socket.send_json({"id": number, "method": method, "params": params})
        async with asyncio.timeout(_TIMEOUT):
            while True:
                message = await self._socket.receive_json()
                if message.get("id") == number:
                    assert "error" not in message, message
                    return message["result"]
                self._event(message)

    def _event(self, message):
        method, params = message.get("method", ""), message.get("params", {})
        if method in ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled"):
            self.messages.append(params)
        if method == "Network.requestWillBeSent":
            self.requested_urls.append(params["request"]["url"])

    async def open(self, path, *, width, height=900, is_dark=False):
        """Open a file at a width in pixels."""
        for domain in ("Page", "Log", "Runtime", "Network"):
            await self.call(f"{domain}.enable")
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])
        await self.call("Page.navigate", url=path.as_uri())
        async with asyncio.timeout(_TIMEOUT):
            while await self.evaluate("document.readyState") != "complete":
                await asyncio.sleep(0)

    async def evaluate(self, expression):
        """Return the value of a JavaScript expression."""
        answer = await self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        return answer["result"].get("value")

    async def point_at(self, x, y):
        """Move the mouse to a position."""
        await self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    async def screenshot(self, *, full_page=True):
        """Return a PNG of the page."""
        answer = await self.call("Page.captureScreenshot", captureBeyondViewport=full_page)
        return base64.b64decode(answer["data"])


@asynccontextmanager
async def chromium():
    """Start a browser and yield its page."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = await asyncio.create_subprocess_exec(
            CHROMIUM,
            *_FLAGS,
            f"--user-data-dir={profile}",
            "about:blank",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            port = await _port(Path(profile) / "DevToolsActivePort")
            async with aiohttp.ClientSession() as session:
                async with session.get(f"http://127.0.0.1:{port}/json") as answer:
                    tabs = json.loads(await answer.text())
                address = next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
                async with session.ws_connect(address, max_msg_size=0) as socket:
                    yield Page(socket)
        finally:
            process.terminate()
            await process.wait()


async def _port(path):
    """Return the port the browser chose, once it has written it."""
    async with asyncio.timeout(_TIMEOUT):
        while not (path.exists() and path.read_text().count("\n")):
            await asyncio.sleep(0)
    return int(path.read_text().split()[0])
