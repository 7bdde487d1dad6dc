"""Write-aheads for the tests of the log's reader, and what a page of them holds."""

from __future__ import annotations

from gnomon.core.inference import Status
from gnomon.log.reader import read
from gnomon.log.writer import LogWriter
from tests.log.entries import SHADOWED, inference, observation


def write(path, *groups):
    """Write groups of entries, one commit each, and close the file."""
    writer = LogWriter(path)
    for group in groups:
        for entry in group:
            assert writer.append(entry)
        assert writer.commit(30)
    writer.close()


def ids(page):
    """The numbers of a page's requests, or of records."""
    records = getattr(page, "records", page)
    return [record.entry.request_id.removeprefix("request-") for record in records]


def all_records(directory, pipeline_id=1, limit=100, **options):
    """The records of all pages."""
    records, cursor, more = [], None, True
    while more:
        page = read(directory, pipeline_id, limit=limit, after=cursor, **options)
        records += page.records
        cursor, more = page.next, page.more
    return records


def statuses(record):
    return {seen.model.label: seen.status for seen in record.challengers}


def shadowed(numbers):
    """Groups as a front makes them: inferences, and their observations a little later."""
    zeta, alpha = SHADOWED.challengers
    entries = [inference(number, SHADOWED, rows=number % 3 + 1) for number in numbers]
    outcomes = [Status.OK, Status.OK, Status.TIMEOUT, Status.DROPPED]
    return [
        [
            *entries[at : at + 5],
            *(observation(entry, alpha) for entry in entries[at : at + 5]),
            *(
                observation(entry, zeta, outcomes[number % 4])
                for number, entry in enumerate(entries[max(at - 5, 0) : at])
            ),
        ]
        for at in range(0, len(entries), 5)
    ]


def table_and_more(directory, pipeline_id, **options):
    """A page as its table, and whether there is more."""
    page = read(directory, pipeline_id, **options)
    return page.table(), page.more
