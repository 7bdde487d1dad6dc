import pytest

from gnomon.core.errors import Forbidden, Misdirected
from gnomon.http_access import allowed_hosts, check_host, check_origin

ALLOWED = allowed_hosts(iter([8080, 8081]))


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:8080", "localhost:8081", "LOCALHOST:8080", "[::1]:8080", "127.0.0.1", "[::1]:8081"],
)
def test_every_name_of_this_server_is_taken_with_each_of_its_ports(host):
    check_host([host], ALLOWED)


@pytest.mark.parametrize(
    "hosts",
    [[], ["evil.example"], ["127.0.0.1:9999"], ["127.0.0.1:8080", "127.0.0.1:8080"], ["10.0.0.1"]],
)
def test_any_other_host_none_or_two_are_misdirected(hosts):
    with pytest.raises(Misdirected):
        check_host(hosts, ALLOWED)


@pytest.mark.parametrize(
    ("origin", "fetch_site"),
    [(None, None), ("http://127.0.0.1:8080", None), (None, "same-origin"), (None, "none")],
)
def test_programs_and_the_servers_own_pages_are_let_in(origin, fetch_site):
    check_origin(origin, fetch_site, ALLOWED)


@pytest.mark.parametrize(
    ("origin", "fetch_site"),
    [
        ("https://evil.example", None),
        ("null", None),
        ("http://[", None),
        ("", None),
        ("http://127.0.0.1:9999", None),
        (None, "cross-site"),
        (None, "same-site"),
        ("http://127.0.0.1:8080", "cross-site"),
    ],
)
def test_pages_of_other_sites_are_not(origin, fetch_site):
    with pytest.raises(Forbidden):
        check_origin(origin, fetch_site, ALLOWED)
