"""A headless Chromium as a person uses it: pages are opened, keys pressed, cells clicked, pictures taken.

It is told what to do over two pipes, in the DevTools protocol: https://chromedevtools.github.io/devtools-protocol/
"""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

EXECUTABLE = shutil.which("chromium") or shutil.which("chromium-browser")
LONGEST = 60  # seconds between two messages
KEYS = {"ArrowDown": 40, "ArrowLeft": 37, "ArrowRight": 39, "ArrowUp": 38, "Enter": 13, "Tab": 9}


class Chromium:
    """One browser with one tab; `events`: what it has told of itself since a page was opened."""

    def __init__(self, profile: Path) -> None:
        theirs_in, self.to = os.pipe()
        self.answers, theirs_out = os.pipe()
        # Numbers above those that Chromium reads and writes, 3 and 4, to which the shell copies them.
        given = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (theirs_in, theirs_out)]
        command = [str(EXECUTABLE), "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"]
        command += [f"--user-data-dir={profile}", "--no-first-run", "about:blank"]
        redirected = f'exec "$@" 3<&{given[0]} 4>&{given[1]}'
        self.process = subprocess.Popen(
            ["bash", "-c", redirected, "bash", *command], pass_fds=given, stderr=subprocess.DEVNULL
        )
        for end in (theirs_in, theirs_out, *given):
            os.close(end)
        self.received, self.number, self.session = b"", 0, ""
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime"):
            self.call(f"{domain}.enable")

    def message(self) -> dict[str, Any]:
        """The next message of the browser."""
        while b"\0" not in self.received:
            assert select.select([self.answers], [], [], LONGEST)[0], f"Chromium has been silent for {LONGEST} seconds"
            read = os.read(self.answers, 1_000_000)
            assert read, "Chromium has ended"
            self.received += read
        text, self.received = self.received.split(b"\0", 1)
        return json.loads(text)

    def send(self, method: str, **params: Any) -> None:
        self.number += 1
        request = {"id": self.number, "method": method, "params": params}
        if self.session:
            request["sessionId"] = self.session
        os.write(self.to, json.dumps(request).encode() + b"\0")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        self.send(method, **params)
        number = self.number
        while (answer := self.message()).get("id") != number:
            self.events.append(answer)
            if answer.get("method") == "Page.javascriptDialogOpening":  # else it waits for a person
                self.send("Page.handleJavaScriptDialog", accept=True)
        assert "error" not in answer, answer
        return answer["result"]

    def open(self, path: Path, width: int = 1280, height: int = 900, scheme: str = "light", part: str = "") -> None:
        """Opens a file and waits until it has loaded; `scheme`: light or dark; `part`: what follows the #."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call("Page.navigate", url="about:blank")  # else another part of the same file is not loaded again
        self.events = []
        self.call("Page.navigate", url=path.as_uri() + (f"#{part}" if part else ""))
        while self.run("document.readyState + location.protocol") != "completefile:":
            pass

    def run(self, code: str) -> Any:
        """The value of an expression in the page."""
        answer = self.call("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def texts(self, selector: str) -> list[str]:
        """What stands in the elements, shown or not."""
        return self.run(f"[...document.querySelectorAll({json.dumps(selector)})].map(one => one.textContent)")

    def visible(self, selector: str) -> bool:
        return self.run(f"document.querySelector({json.dumps(selector)}).checkVisibility()")

    def press(self, *keys: str) -> None:
        for key in keys:
            about = {"key": key, "code": key, "windowsVirtualKeyCode": KEYS[key]}
            text = {"text": "\r"} if key == "Enter" else {}
            self.call("Input.dispatchKeyEvent", type="keyDown", **about, **text)
            self.call("Input.dispatchKeyEvent", type="keyUp", **about)

    def write(self, text: str) -> None:
        self.call("Input.insertText", text=text)

    def click(self, selector: str, x: float = 0.5, y: float = 0.5) -> None:
        """Clicks at shares of the width and height of an element."""
        box = self.run(
            f"(() => {{ const one = document.querySelector({json.dumps(selector)}); one.scrollIntoView("
            "{block: 'nearest'}); return one.getBoundingClientRect().toJSON(); })()"
        )
        place = {"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]}
        self.call("Input.dispatchMouseEvent", type="mouseMoved", **place)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **place)

    def picture(self, path: Path, whole: bool = False) -> None:
        """A PNG of what is seen, or of the whole page."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"clip": {**size, "scale": 1}, "captureBeyondViewport": True} if whole else {}
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", **clip)["data"]))

    def pdf(self) -> bytes:
        return base64.b64decode(self.call("Page.printToPDF", printBackground=True)["data"])

    def told(self, method: str) -> list[dict[str, Any]]:
        """What the browser has told of itself since the page was opened, such as Network.requestWillBeSent."""
        self.run("1")  # what was on the way has arrived
        return [event["params"] for event in self.events if event.get("method") == method]

    def close(self) -> None:
        self.session = ""
        self.call("Browser.close")
        self.process.wait(30)
        os.close(self.to)
        os.close(self.answers)


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    if not EXECUTABLE:
        pytest.skip("no Chromium here: apt-get install chromium")
    browser = Chromium(tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()
