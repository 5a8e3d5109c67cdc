"""A YAML document as plain values, with the line and column of each.

Only what YAML and JSON share is read: mappings with text as keys, lists, and scalars. Aliases are
read, within bounds; tags of other languages, merge keys and a key that is there twice are errors.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import yaml

__all__ = ["Document", "Key", "Path", "Problem", "parse_document"]

Key = str | int
Path = tuple[Key, ...]

#: An alias of an alias of an alias grows exponentially.
_MAX_NODES = 20_000
_MAX_DEPTH = 32
# Not the C one: that one overflows the stack on deep nesting.
_COLLECTIONS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")


class Problem(NamedTuple):
    """One thing that is wrong.

    Attributes:
        line, column: where, from 1.
        path: of the value: `vaults.disk.threads`.
        message: what is wrong.
        hint: what to write instead, or None.
    """

    line: int
    column: int
    path: str
    message: str
    hint: str | None = None


class _Mark(NamedTuple):
    line: int
    column: int


@dataclass
class Document:
    """What was read, and where each value was.

    Attributes:
        value: of the whole; None where the document is empty or broken.
        problems: found so far.
    """

    value: Any = None
    problems: list[Problem] = field(default_factory=list)
    _values: dict[Path, _Mark] = field(default_factory=dict)
    _keys: dict[Path, _Mark] = field(default_factory=dict)

    def add(self, path: Path, message: str, hint: str | None = None, *, key: bool = False) -> None:
        """Add a problem with the value at `path`, or with its key; else with what holds it."""
        mark = self._find(path, key=key)
        self.problems.append(Problem(mark.line, mark.column, _dotted(path), message, hint))

    def has(self, path: Path) -> bool:
        """Return whether there is a value at `path`."""
        return path in self._values

    def _find(self, path: Path, *, key: bool) -> _Mark:
        first = self._keys if key else self._values
        if path in first:
            return first[path]
        for end in range(len(path) - 1, 0, -1):
            # Something is missing in a mapping: one looks for the mapping by its name.
            mark = self._keys.get(path[:end]) or self._values.get(path[:end])
            if mark is not None:
                return mark
        return self._values.get((), _Mark(1, 1))


def parse_document(text: str) -> Document:
    """Return the document in `text`; its syntax errors are among its problems."""
    document = Document()
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is not None:
            document.value = _Reader(document, loader).read(node, ())
    except yaml.YAMLError as error:
        document.value = None
        document.problems.append(_syntax(error, text))
    except RecursionError:
        document.value = None
        document.problems.append(Problem(1, 1, "", "the document is nested too deeply"))
    return document


class _Reader:
    def __init__(self, document: Document, loader: Any) -> None:
        self._document = document
        self._loader = loader
        self._nodes = 0

    def read(self, node: yaml.Node, path: Path) -> Any:
        self._nodes += 1
        if self._nodes > _MAX_NODES or len(path) > _MAX_DEPTH:
            raise yaml.MarkedYAMLError(
                problem="the document is too large or nested too deeply",
                problem_mark=node.start_mark,
            )
        self._document._values[path] = _mark(node)  # noqa: SLF001 (its builder)
        if isinstance(node, yaml.CollectionNode) and node.tag not in _COLLECTIONS:
            self._problem(_mark(node), path, f"the tag {node.tag!r} is not read here", "Drop it.")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.read(child, (*path, i)) for i, child in enumerate(node.value)]
        return self._scalar(node, path)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        first: dict[str, int] = {}
        for key_node, value_node in node.value:
            mark = _mark(key_node)
            key = key_node.value
            if not isinstance(key_node, yaml.ScalarNode) or (
                key_node.tag != "tag:yaml.org,2002:str"
            ):
                self._problem(mark, path, *_not_text(key_node))
            elif key in first:
                self._problem(
                    mark,
                    (*path, key),
                    f"{key!r} is there twice",
                    f"It is in line {first[key]} already; only one of them can hold.",
                )
            else:
                first[key] = mark.line
                self._document._keys[(*path, key)] = mark  # noqa: SLF001
                found[key] = self.read(value_node, (*path, key))
        return found

    def _scalar(self, node: yaml.Node, path: Path) -> Any:
        try:
            value = self._loader.construct_object(node)
        except (yaml.YAMLError, ValueError, OverflowError):
            value = node
        if value is None or isinstance(value, (str, bool, int, float)):
            return value
        self._problem(
            _mark(node), path, f"{str(node.value)[:80]!r} is no plain value", "Put it into quotes."
        )
        return str(node.value)

    def _problem(self, mark: _Mark, path: Path, message: str, hint: str) -> None:
        self._document.problems.append(
            Problem(mark.line, mark.column, _dotted(path), message, hint)
        )


def _not_text(node: yaml.Node) -> tuple[str, str]:
    if not isinstance(node, yaml.ScalarNode):
        return "a key must be text", "Write it as one word."
    if node.tag == "tag:yaml.org,2002:merge":
        return "merge keys ('<<') are not read here", "Write the settings out."
    return f"the key {node.value!r} is not read as text", "Put it into quotes."


def _syntax(error: yaml.YAMLError, text: str) -> Problem:
    if isinstance(error, yaml.reader.ReaderError):
        before = text[: error.position]
        column = error.position - before.rfind("\n")
        message = f"not YAML: the character {text[error.position]!r} may not be in it"
        return Problem(before.count("\n") + 1, column, "", message)
    mark = getattr(error, "problem_mark", None)
    what = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
    context = getattr(error, "context", None)
    return Problem(line, column, "", f"not YAML: {what}{f' ({context})' if context else ''}")


def _mark(node: yaml.Node) -> _Mark:
    return _Mark(node.start_mark.line + 1, node.start_mark.column + 1)


def _dotted(path: Path) -> str:
    return ".".join(str(part) for part in path)
