"""The words of every finding, whole, are those of data/words.txt."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import ravine
import words

RECORDED = words.read()
LINES = [line for lines in RECORDED.values() for line in lines]
HEAD = re.compile(r"(?:^|: )([a-zA-Z ]+) \((exact|local|measured)\): ", re.MULTILINE)


@pytest.mark.parametrize("name", words.SCENES)
def test_what_is_said(name):
    assert words.told(name) == RECORDED[name]


def kinds_in_source():
    """Kinds that a Finding is made with, wherever that is."""
    for path in Path(ravine.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(func=ast.Name("Finding"), args=[ast.Constant(kind), *_]):
                    yield kind


def test_every_kind_is_read_somewhere():
    assert {kind for kind, _ in HEAD.findall("\n".join(LINES))} == set(kinds_in_source())
    assert RECORDED.keys() == words.SCENES.keys()


def test_what_is_local_says_so():
    for line in LINES:
        assert ("(local)" in line) == ("ocally" in line), line
