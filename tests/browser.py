"""Chromium without a window, spoken to in its debugging protocol through two pipes: real keys, real pixels."""

import base64
import io
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

FOUND = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
"""The browser of this machine."""
_OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--force-color-profile=srgb")
_CODES = {"Tab": 9, "Enter": 13, " ": 32, "End": 35, "Home": 36, "ArrowLeft": 37, "ArrowRight": 39}


class Browser:
    """One page."""

    def __init__(self, reader: int, writer: int):
        self._reader, self._writer = os.fdopen(reader, "rb"), os.fdopen(writer, "wb")
        self._number, self._session = 0, ""
        targets = self._call("Target.getTargets")["targetInfos"]
        (page,) = [target["targetId"] for target in targets if target["type"] == "page"]
        self._session = self._call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]

    def close(self) -> None:
        """Ends the browser."""
        self._session = ""
        self._call("Browser.close")
        self._reader.close()
        self._writer.close()

    def open(self, page: Path, width: int, height: int, scheme: str = "light") -> None:
        """Loads a file in a window of so many pixels."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self._call("Emulation.setDeviceMetricsOverride", **metrics)
        self._call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self._call("Page.navigate", url=page.as_uri())
        while self.run("document.readyState") != "complete" or not self.run("location.href").startswith("file"):
            pass

    def run(self, expression: str) -> Any:
        """The value of an expression of JavaScript, or of its promise."""
        answer = self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def press(self, *keys: str) -> None:
        """Keys, one after the other."""
        for key in keys:
            known = {"key": key, "code": key, "windowsVirtualKeyCode": _CODES[key]}
            text = {"text": {"Enter": "\r", " ": " "}[key]} if key in ("Enter", " ") else {}
            self._call("Input.dispatchKeyEvent", type="keyDown", **known, **text)
            self._call("Input.dispatchKeyEvent", type="keyUp", **known)

    def pixels(self) -> np.ndarray:
        """What is in the window: uint8 (H, W, 3)."""
        pictures = "Promise.all([...document.images].map((image) => image.decode()))"
        self.run(pictures + ".then(() => new Promise((done) => requestAnimationFrame(() => done(1))))")
        data = base64.b64decode(self._call("Page.captureScreenshot")["data"])
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))

    def _call(self, method: str, **parameters) -> dict:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._writer.write(json.dumps(message).encode() + b"\0")
        self._writer.flush()
        while True:
            text = bytearray()
            while (byte := self._reader.read(1)) != b"\0":
                assert byte, "the browser has ended"
                text += byte
            answer = json.loads(text)
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer)
                return answer["result"]


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """A browser with a profile of its own."""
    (to_read, writer), (reader, to_write) = os.pipe(), os.pipe()
    options = [*_OPTIONS, f"--user-data-dir={profile}", "--remote-debugging-pipe", "about:blank"]
    command = ["bash", "-c", f'exec "$0" "$@" 3<&{to_read} 4>&{to_write}', str(FOUND), *options]
    with subprocess.Popen(command, pass_fds=(to_read, to_write), stderr=subprocess.DEVNULL) as process:
        os.close(to_read), os.close(to_write)
        try:
            opened = Browser(reader, writer)
            yield opened
            opened.close()
        except BaseException:
            process.kill()
            raise
