from __future__ import annotations

from gnomon.log.correlation import OpenRequests
from gnomon.log.segments import NO_ENTRY
from tests.log.entries import SHADOWED, inference, observation, route

ZETA, ALPHA = SHADOWED.challengers


def test_an_observation_belongs_to_the_nearest_earlier_inference_of_its_id_and_pipeline():
    first, second = (inference(n, SHADOWED, request_id="same") for n in (1, 2))
    elsewhere = inference(3, route(2, challengers=("zeta",)), request_id="same")
    requests = OpenRequests(100)

    of = requests.resolve([first, observation(first, ZETA), second, elsewhere], base=10)
    later = requests.resolve([observation(second, ALPHA), observation(elsewhere, ZETA)], base=14)

    assert of == [NO_ENTRY, 10, NO_ENTRY, NO_ENTRY]
    assert later == [12, 13]


def test_a_request_is_forgotten_when_all_its_challengers_have_ended():
    entry = inference(1, SHADOWED)
    requests = OpenRequests(100)

    requests.resolve([inference(2, SHADOWED, sampled=()), entry], base=0)
    assert len(requests) == 1
    requests.resolve([observation(entry, ZETA)], base=2)
    assert len(requests) == 1
    requests.resolve([observation(entry, ALPHA)], base=3)
    assert len(requests) == 0
    assert requests.resolve([observation(entry, ALPHA)], base=4) == [NO_ENTRY]


def test_an_id_in_flight_twice_is_remembered_until_the_observations_of_both_are_in():
    twice = [inference(n, SHADOWED, request_id="same", sampled=(ZETA,)) for n in (1, 2)]
    requests = OpenRequests(100)

    of = requests.resolve([*twice, *(observation(entry, ZETA) for entry in twice)], base=0)

    assert of[2:] == [1, 1]
    assert len(requests) == 0


def test_the_oldest_open_requests_are_forgotten_when_there_are_too_many():
    entries = [inference(n, SHADOWED) for n in range(5)]
    requests = OpenRequests(3)

    requests.resolve(entries, base=0)

    assert len(requests) == 3
    seen = requests.resolve([observation(entry, ZETA) for entry in entries], base=5)
    assert seen == [NO_ENTRY, NO_ENTRY, 2, 3, 4]
