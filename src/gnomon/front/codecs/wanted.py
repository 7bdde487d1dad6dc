"""What a caller wants of the answer: its format, its columns, and how these are named."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from gnomon.core.errors import MalformedRequest

METADATA = "metadata"
_ALL = "*"
_SEPARATOR_CHARS_MAX = 8


class Format(StrEnum):
    """How an answer is written."""

    NAMED_TENSORS = "named-tensors"
    RECORDS = "pandas-records"
    ARROW_FILE = "arrow-file"
    ARROW_STREAM = "arrow-stream"
    JSON = "json"  # either of the first two


_ARROW_TYPES = {
    "application/vnd.apache.arrow.file": Format.ARROW_FILE,
    "application/vnd.apache.arrow.stream": Format.ARROW_STREAM,
}
_JSON = "application/json"
_JSON_FORMATS = {str(each): each for each in (Format.NAMED_TENSORS, Format.RECORDS)}
_ANY = frozenset({"*/*", "application/*"})


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the answer shall look like. Columns are named with dots here: `out.dense_1`.

    Attributes:
        accept: Its format; None: as the request came.
        dataset: Columns, or groups of them (`out`), that are shown; `*` is all but the metadata.
        dataset_exclude: Columns or groups that are not; of two that say something about a column
            the longer one counts, of two alike this one.
        dataset_separator: What joins the parts of a name; empty: objects in objects; None:
            objects in JSON, dots in Arrow.
    """

    accept: Format | None = None
    dataset: tuple[str, ...] = (_ALL,)
    dataset_exclude: tuple[str, ...] = ()
    dataset_separator: str | None = None

    @classmethod
    def of(cls, headers: Mapping[bytes, bytes], query: Mapping[str, list[str]]) -> Wanted:
        """Read what a request's head says.

        Args:
            headers: Lower-case name to value; `accept` is read. A type that is not known here is
                passed over: the answer is in the format of the request.
            query: `dataset` and `dataset.exclude`, any number of each, and `dataset.separator`;
                also written with `[]` behind, and `_` for the dot.

        Raises:
            MalformedRequest: A dataset parameter that there is none of, or an odd separator.
        """
        found: dict[str, list[str]] = {name: [] for name in _PARAMETERS}
        for name, values in query.items():
            known = name.removesuffix("[]").replace("_", ".")
            if known in found:
                found[known] += values
            elif known.startswith("dataset"):
                raise MalformedRequest(
                    f"There is no query parameter {name[:80]!r}; there are {', '.join(found)}."
                )
        accept = headers.get(b"accept")
        return cls(
            accept=None if accept is None else _best(accept.decode("latin-1")),
            dataset=_unique(found["dataset"]) or (_ALL,),
            dataset_exclude=_unique(found["dataset.exclude"]),
            dataset_separator=_separator(found["dataset.separator"]),
        )

    def format(self, came_in: Format) -> Format:
        """Return the format of the answer to a request that came in one."""
        if self.accept is None:
            return came_in
        if self.accept is not Format.JSON:
            return self.accept
        return came_in if came_in in _JSON_FORMATS else Format.RECORDS

    @property
    def is_whole(self) -> bool:
        """Whether all columns are shown but the metadata."""
        return self.dataset == (_ALL,) and not self.dataset_exclude

    @property
    def names_metadata(self) -> bool:
        """Whether any column of the metadata may be shown."""
        return any(entry.partition(".")[0] == METADATA for entry in self.dataset)

    def shows(self, column: str) -> bool:
        """Say whether the answer has a column, as far as one of that name exists."""
        shown = max((_strength(each, column) for each in self.dataset), default=-1)
        hidden = max((_strength(each, column) for each in self.dataset_exclude), default=-1)
        return shown > hidden


DEFAULT = Wanted()
_PARAMETERS = ("dataset", "dataset.exclude", "dataset.separator")


def _strength(entry: str, column: str) -> int:
    """Return how much an entry of a dataset says about a column; negative: nothing."""
    if entry == _ALL:
        return -1 if _covers(METADATA, column) else 0
    return len(entry) if _covers(entry, column) else -1


def _covers(entry: str, column: str) -> bool:
    return column == entry or column.startswith(f"{entry}.")


def covers_any(entry: str, columns: Iterable[str]) -> bool:
    """Say whether an entry of a dataset names one of these columns, or a group of them."""
    return entry == _ALL or any(_covers(entry, column) for column in columns)


def _unique(values: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(filter(None, values)))


def _separator(values: list[str]) -> str | None:
    if not values:
        return None
    text = values[-1]
    # What stands in labels would make two columns of one name: out_rf.x and out.rf_x.
    odd = any(char.isalnum() or char in "_-" or not char.isprintable() for char in text)
    if odd or len(text) > _SEPARATOR_CHARS_MAX:
        raise MalformedRequest(
            f"dataset.separator is {text[:80]!r}; it takes up to {_SEPARATOR_CHARS_MAX} characters "
            'such as ".", no letters, digits, "_" or "-"; nothing: objects in objects.'
        )
    return text


# Accept


def _best(accept: str) -> Format | None:
    """Return the format that a caller likes best; None if that is any, or none of ours.

    Of those liked alike one of our formats goes before any, and any before JSON as such, which
    common clients name without meaning it. Else the first.
    """
    best, most = None, (0.0, 0)
    for kind, parameters in _media_types(accept):
        quality = _quality(parameters.get("q", "1"))
        if kind == _JSON:
            format = _JSON_FORMATS.get(parameters.get("format", ""), Format.JSON)
        elif kind in _ARROW_TYPES:
            format = _ARROW_TYPES[kind]
        elif kind in _ANY:
            format = None
        else:
            continue
        weight = (quality, 1 if format is None else 0 if format is Format.JSON else 2)
        if quality > 0 and weight > most:
            best, most = format, weight
    return best


def _media_types(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    for part in text.lower().split(","):
        kind, *parameters = (word.strip() for word in part.split(";"))
        pairs = (parameter.partition("=")[::2] for parameter in parameters)
        yield kind, {name.strip(): value.strip().strip('"') for name, value in pairs}


def _quality(text: str) -> float:
    try:
        return min(1.0, float(text))
    except ValueError:
        return 0.0


def is_records(content_type: bytes) -> bool:
    """Say whether a Content-Type announces records."""
    return any(
        parameters.get("format") == Format.RECORDS
        for _, parameters in _media_types(content_type.decode("latin-1"))
    )
