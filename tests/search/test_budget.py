from search.budget import Purse
from search.rows import TrialRow


def row(number: int, device_seconds: float) -> TrialRow:
    return TrialRow(number, "running", 0.5, 1, {}, {1: 0.5}, {"device_seconds": device_seconds})


def test_wall_clock_is_of_the_session_and_device_hours_are_of_the_study() -> None:
    now = [100.0]
    purse = Purse(60.0, 500.0, [row(0, 300.0)], clock=lambda: now[0])
    assert purse.empty() is None
    purse.heard(row(1, 150.0))
    assert (purse.device_seconds, purse.empty()) == (450.0, None)
    purse.heard(row(1, 200.0))
    assert purse.empty() == "device_hours"
    now[0] += 61
    assert purse.empty() == "hours"


def test_without_limits_there_is_always_something_left() -> None:
    assert Purse(None, None, [row(0, 1e9)]).empty() is None
