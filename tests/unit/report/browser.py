"""A headless Chromium that is asked over its DevTools pipe; no driver, no network."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# A table that is wider than a phone scrolls in a box of its own; what is inside an SVG is clipped.
STICKING_OUT = """
[...document.querySelectorAll("body *")].filter(element => {
  const box = element.getBoundingClientRect();
  const out = box.width > 0 && box.right > document.documentElement.clientWidth + 0.5;
  return out && !element.closest(".scroll > *") && !element.closest("svg");
}).map(element => element.outerHTML.slice(0, 120))
"""
BROKEN = "[...document.images].filter(image => !image.naturalWidth).length"
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


def program() -> str | None:
    """Where a Chromium is, None if there is none."""
    return next((found for name in PROGRAMS if (found := shutil.which(name))), None)


class Page:
    """One tab; `events` collects all that DevTools tells."""

    def __init__(self, read: int, write: int) -> None:
        self._read, self._write = read, write
        self._buffer = b""
        self._id = 0
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Page.setLifecycleEventsEnabled", enabled=True)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._id += 1
        message: dict[str, Any] = {"id": self._id, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._id:
                assert "error" not in answer, (method, answer)
                return dict(answer["result"])

    def _next(self, patience: float = 60.0) -> dict[str, Any]:
        end = time.monotonic() + patience
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(0.0, end - time.monotonic()))
            assert ready, "Chromium does not answer"
            data = os.read(self._read, 1 << 20)
            assert data, "Chromium has ended"
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\0")
        message = json.loads(line)
        if "method" in message:
            self.events.append(message)
        return dict(message)

    def open(self, file: Path, width: int, height: int = 900, scheme: str = "light") -> None:
        """Show a file in a window of that size, and wait until it is loaded."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.call("Emulation.setEmulatedMedia", features=[feature])
        self.events.clear()
        loader = self.call("Page.navigate", url=file.resolve().as_uri())["loaderId"]
        while not any(_loaded(event, loader) for event in self.events):
            self._next()

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def problems(self) -> list[str]:
        """What the console and the log have said since the page was opened."""
        self.run("1")  # what was on its way has come before the answer
        wanted = {"Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled"}
        return [json.dumps(e["params"]) for e in self.events if e["method"] in wanted]

    def requests(self) -> list[str]:
        """Addresses that the page asked for, but for those inside itself."""
        asked = [e for e in self.events if e["method"] == "Network.requestWillBeSent"]
        addresses = [str(e["params"]["request"]["url"]) for e in asked]
        return [address for address in addresses if not address.startswith("data:")]

    def screenshot(self, file: Path, whole: bool = True) -> None:
        answer = self.call(
            "Page.captureScreenshot", captureBeyondViewport=whole, **self._all(whole)
        )
        file.write_bytes(base64.b64decode(answer["data"]))

    def _all(self, whole: bool) -> dict[str, Any]:
        if not whole:
            return {}
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "scale": 1, "width": size["width"], "height": size["height"]}
        return {"clip": clip}


def _loaded(event: dict[str, Any], loader: str) -> bool:
    """Whether it is this page that is loaded; the empty one of a new tab may come after it."""
    wanted = {"name": "load", "loaderId": loader}
    return event["method"] == "Page.lifecycleEvent" and wanted.items() <= event["params"].items()


def check(page: Page, file: Path) -> None:
    """A page is in order, bright and dark, on a desk and on a phone: it complains about nothing,
    asks for nothing else, and nothing sticks out."""
    for width, scheme in ((1280, "light"), (1280, "dark"), (390, "light")):
        page.open(file, width, scheme=scheme)
        assert page.problems() == []
        assert page.requests() == [file.resolve().as_uri()]
        assert page.run(STICKING_OUT) == []
        assert page.run("document.documentElement.scrollWidth") == width
        assert page.run(BROKEN) == 0


@contextmanager
def chromium(profile: Path) -> Iterator[Page]:
    """A browser with a profile of its own; ended with the block."""
    found = program()
    assert found is not None
    to_browser, write = os.pipe()
    read, from_browser = os.pipe()
    # DevTools' pipe is file descriptors 3 (commands) and 4 (answers), which ours may be the other
    # way round: bash first finds free numbers for copies.
    shell = f'exec {{a}}<&{to_browser} {{b}}>&{from_browser}; exec 3<&$a 4>&$b; exec "$@"'
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    options += ["--no-first-run", "--hide-scrollbars", f"--user-data-dir={profile}"]
    process = subprocess.Popen(
        ["bash", "-c", shell, "bash", found, *options, "--remote-debugging-pipe"],
        pass_fds=(to_browser, from_browser),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(to_browser)
    os.close(from_browser)
    try:
        yield Page(read, write)
    finally:
        process.terminate()
        process.wait(30)
        os.close(read)
        os.close(write)
