import pytest

from gnomon.core.errors import Invalid
from gnomon.core.sampling import check_rate, is_sampled, rates_by_label

REQUESTS = [f"request-{number}" for number in range(20_000)]


def share(rate: float, label: str = "rf") -> float:
    return sum(is_sampled(request_id, label, rate) for request_id in REQUESTS) / len(REQUESTS)


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5, 0.9])
def test_a_challenger_sees_the_share_of_requests_that_was_asked_for(rate):
    # Five standard deviations: a hash that is not even fails, a fair one does not.
    assert share(rate) == pytest.approx(rate, abs=5 * (rate * (1 - rate) / len(REQUESTS)) ** 0.5)


def test_all_and_none_are_exact():
    assert share(1.0) == 1.0
    assert share(0.0) == 0.0


@pytest.mark.parametrize(("one", "other"), [("rf", "xg"), ("ccfraud_v2", "ccfraud_v3")])
def test_labels_decide_independently(one, other):
    both = sum(is_sampled(r, one, 0.5) and is_sampled(r, other, 0.5) for r in REQUESTS)
    assert both / len(REQUESTS) == pytest.approx(0.25, abs=0.016)


def test_a_smaller_sample_is_part_of_a_larger_one():
    small = {r for r in REQUESTS if is_sampled(r, "rf", 0.2)}
    large = {r for r in REQUESTS if is_sampled(r, "rf", 0.4)}
    assert small < large


def test_the_choice_is_the_same_for_ever():
    seen = [n for n in range(40) if is_sampled(f"request-{n}", "rf", 0.25)]
    assert seen == [0, 1, 4, 14, 17, 20, 22, 24, 25, 26, 29, 30, 32, 36]


@pytest.mark.parametrize("rate", [-0.1, 1.01, float("nan"), float("inf"), True, "0.5", None, [0.5]])
def test_what_is_no_share_is_refused(rate):
    with pytest.raises(Invalid, match="sample must be a share of the requests, from 0 to 1, got"):
        check_rate(rate)


def test_a_sample_is_one_rate_for_all_or_rates_by_label():
    assert rates_by_label(0.5, ["rf", "xgb"]) == {"rf": 0.5, "xgb": 0.5}
    assert rates_by_label({"xgb": 1}, ["rf", "xgb"]) == {"xgb": 1.0}
    with pytest.raises(Invalid, match=r"no challenger 'lstm'; there is: rf, xgb\."):
        rates_by_label({"lstm": 0.5}, ["rf", "xgb"])
    with pytest.raises(Invalid, match=r"no challenger 'rf'; there is: none\."):
        rates_by_label({"rf": 0.5}, [])
