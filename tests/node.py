"""The page's own modules, run by node, so that they can be held against Python in the same test."""

from __future__ import annotations

import base64
import json
import math
import shutil
import subprocess
from pathlib import Path

import numpy as np

import ravine

STATIC = Path(ravine.__file__).parent / "_explore" / "static"
DRIVER = Path(__file__).with_name("page_driver.mjs")
NODE = shutil.which("node")


def spell(value):
    """JSON has no inf and no NaN."""
    if isinstance(value, float) and not math.isfinite(value):
        return {"number": {math.inf: "Infinity", -math.inf: "-Infinity"}.get(value, "NaN")}
    if isinstance(value, dict):
        return {name: spell(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [spell(each) for each in value]
    return value


def unspell(value):
    if isinstance(value, dict) and set(value) == {"number"}:
        return float(value["number"])
    return value


class Page:
    """One process that answers questions; `folder` may hold modules with one operation changed."""

    def __init__(self, folder=STATIC):
        self.process = subprocess.Popen(
            [NODE, str(DRIVER), str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, ask, **question):
        self.process.stdin.write(json.dumps(spell({"ask": ask, **question})) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline(), object_hook=unspell)
        assert "error" not in answer, answer["error"]
        return answer["answer"]

    def run(self, card, start, settings, steps, panel=0, turned=None):
        found = self.ask(
            "run", card=card, panel=panel, turned=turned or {}, start=start, settings=settings, steps=steps
        )
        position, loss = (
            np.frombuffer(base64.b64decode(found[name]), dtype=card["dtype"]) for name in ("position", "loss")
        )
        return position.reshape(-1, 2), loss

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=30)
        self.process.stdout.close()
