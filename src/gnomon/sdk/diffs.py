"""What differs between two pipeline versions, in lines that people read."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gnomon.sdk import html

_MARKS = {"- ": "removed", "+ ": "added", "  ": "same"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Diff:
    """What is in one version and not in the other.

    `str` of it is a text with "-" and "+" before the lines; it is false where nothing differs.

    Attributes:
        before, after: What was compared.
        lines: In their order; each with "removed", "added" or "same".
    """

    before: str
    after: str
    lines: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, before: str, old: Sequence[str], after: str, new: Sequence[str]) -> Diff:
        """Compare lines.

        Args:
            before, after: What they are called.
        """
        compared = difflib.ndiff(old, new, linejunk=None, charjunk=None)
        marked = ((_MARKS[line[:2]], line[2:]) for line in compared if line[:2] in _MARKS)
        return cls(before=before, after=after, lines=tuple(marked))

    def added(self) -> list[str]:
        """Return what only the later one has."""
        return [text.strip() for mark, text in self.lines if mark == "added"]

    def removed(self) -> list[str]:
        """Return what only the earlier one has."""
        return [text.strip() for mark, text in self.lines if mark == "removed"]

    def __bool__(self) -> bool:
        return any(mark != "same" for mark, _ in self.lines)

    def __str__(self) -> str:
        signs = {word: sign for sign, word in _MARKS.items()}
        head = [f"--- {self.before}", f"+++ {self.after}"]
        if not self:
            return "\n".join([*head, "Nothing differs."])
        return "\n".join([*head, *(signs[mark] + text for mark, text in self.lines)])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"<pre>{html.cell(self)}</pre>"


def definition_lines(
    definition: Mapping[str, Any], tensor_fields: Mapping[str, Sequence[str] | None]
) -> list[str]:
    """Return a definition as lines: its steps with their models, and how each model is fed.

    Args:
        definition: As the server has it, JSON values.
        tensor_fields: Columns of each model version, by its id.
    """
    lines: list[str] = []
    for number, step in enumerate(definition.get("steps", ()), 1):
        for kind, value in step.items():
            lines.append(f"step {number}: {kind}")
            lines += _lines(value, "  ", tensor_fields)
    for name, value in definition.items():
        if name != "steps" and value:
            lines.append(name)
            lines += _lines(value, "  ", tensor_fields)
    return lines


def _lines(value: Any, indent: str, fields: Mapping[str, Sequence[str] | None]) -> Iterator[str]:
    for name, found in value.items():
        many = found if isinstance(found, list) and found else [found]
        for each in many:
            if _is_model(each):
                yield f"{indent}{name}: {_model_text(each, fields)}"
            elif isinstance(each, Mapping) and name == "expressions":
                trees = ((key, json.dumps(tree, ensure_ascii=False)) for key, tree in each.items())
                yield from (f"{indent}validation {key}: {tree}" for key, tree in trees)
            elif isinstance(each, Mapping) and _is_model(each.get("model")):  # with its weight
                yield f"{indent}weight {each['weight']}: {_model_text(each['model'], fields)}"
            elif isinstance(each, Mapping):
                yield f"{indent}{name}"
                yield from _lines(each, f"{indent}  ", fields)
            else:
                yield f"{indent}{name}: {json.dumps(each, ensure_ascii=False)}"


def _is_model(value: Any) -> bool:
    return isinstance(value, Mapping) and {"version_id", "name", "ordinal"} <= set(value)


def _model_text(model: Mapping[str, Any], fields: Mapping[str, Sequence[str] | None]) -> str:
    columns = fields.get(str(model["version_id"]))
    fed = "" if columns is None else f", fed by {', '.join(columns)}"
    return f"{model['name']}@{model['ordinal']} ({model['version']}){fed}"
