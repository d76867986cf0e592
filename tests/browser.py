"""A real Chromium without a window, told what to do through a pipe."""

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
_OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
            "--disable-background-networking", "--disable-component-update", "--remote-debugging-pipe")  # fmt: skip


class Tab:
    """A page in the browser. asked: the addresses that it asked for and that its policy allows, by the requests'
    names. said: what was written to its console as a warning or an error, and exceptions that nobody caught."""

    def __init__(self, process: subprocess.Popen[bytes], to_browser: int, from_browser: int) -> None:
        self._process, self._to, self._from = process, to_browser, from_browser
        self._rest, self._sent, self._session, self._loaded = b"", 0, "", False
        self.asked: dict[str, str] = {}
        self.said: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log", "DOM"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """A command of the DevTools protocol."""
        self._sent += 1
        message = {"id": self._sent, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        content = json.dumps(message).encode() + b"\0"
        while content:
            content = content[os.write(self._to, content) :]
        while True:
            answer = self._read()
            if answer.get("id") == self._sent:
                assert "error" not in answer, answer["error"]
                found: dict[str, Any] = answer["result"]
                return found
            self._note(answer)

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            more = os.read(self._from, 2**20)
            assert more, "the browser has ended"
            self._rest += more
        line, self._rest = self._rest.split(b"\0", 1)
        found: dict[str, Any] = json.loads(line)
        return found

    def _note(self, event: dict[str, Any]) -> None:
        of = event.get("params", {})
        match event.get("method"):
            case "Network.requestWillBeSent":
                self.asked[of["requestId"]] = of["request"]["url"]
            case "Network.loadingFailed" if of.get("blockedReason") == "csp":
                del self.asked[of["requestId"]]
            case "Page.loadEventFired":
                self._loaded = True
            case "Log.entryAdded" if of["entry"]["level"] in ("warning", "error"):
                self.said.append(of["entry"]["text"])
            case "Runtime.consoleAPICalled" if of["type"] in ("warning", "error"):
                self.said.append(" ".join(str(each.get("value", each)) for each in of["args"]))
            case "Runtime.exceptionThrown":
                self.said.append(str(of["exceptionDetails"]))

    def open(self, address: str, ready: str = "true") -> None:
        """Open a page and wait until it is loaded and the expression `ready` is true."""
        self._loaded = False
        self.call("Page.navigate", url=address)
        while not self._loaded:
            self._note(self._read())
        self.wait(ready)

    def evaluate(self, expression: str) -> Any:
        """What a JavaScript expression gives, or the promise that it gives, as JSON."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, expression: str, seconds: float = 120) -> None:
        end = time.monotonic() + seconds
        while not self.evaluate(expression):
            assert time.monotonic() < end, f"{expression} does not come true; the page says {self.said}"
            time.sleep(0.05)

    def choose(self, selector: str, paths: list[Path]) -> None:
        """Choose files in a field of the page, as a person does."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path) for path in paths])

    def picture(self, path: Path, width: int = 1200, height: int = 900, dark: bool = False) -> None:
        """Write what a window of this size shows as a PNG."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))


@contextmanager
def tab(profile: Path, *options: str) -> Iterator[Tab]:
    """A page of a browser of its own. profile: a folder for it.

    Where there is no Chromium, the test is skipped and says so.
    """
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine: the page was not opened in a browser")
    its_in, to_browser = os.pipe()
    from_browser, its_out = os.pipe()
    # It reads from the file descriptor 3 and writes to 4.
    shell = f'exec 3<&{its_in} 4>&{its_out}; exec "$@"'
    command = ["bash", "-c", shell, "bash", CHROMIUM, *_OPTIONS, f"--user-data-dir={profile}", *options]
    process = subprocess.Popen(
        command, pass_fds=(its_in, its_out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    os.close(its_in)
    os.close(its_out)
    try:
        yield Tab(process, to_browser, from_browser)
    finally:
        os.close(to_browser)
        os.close(from_browser)
        process.terminate()
        process.wait(30)
