import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scumble.schedules import Cosine, Linear, WarmUp, as_schedule, constant


@pytest.mark.parametrize(
    ("schedule", "values"),
    [
        (Linear(2.0, 10.0, steps=8), {0: 2.0, 1: 3.0, 4: 6.0, 8: 10.0, 100: 10.0}),
        (Linear(1.0, 0.0, steps=4), {0: 1.0, 3: 0.25, 4: 0.0, 5: 0.0}),
        (Cosine(4.0, 2.0, steps=8), {0: 4.0, 2: 3 + math.sqrt(0.5), 4: 3.0, 8: 2.0, 100: 2.0}),
        (Cosine(1.0, 0.0, steps=12, warmup=4), {0: 0.25, 3: 1.0, 4: 1.0, 8: 0.5, 12: 0.0, 13: 0.0}),
        (WarmUp(5.0, steps=5), {0: 1.0, 1: 2.0, 4: 5.0, 5: 5.0, 100: 5.0}),
        (constant, {0: 1.0, 100: 1.0}),
        (as_schedule(3), {0: 3.0, 100: 3.0}),
    ],
)
def test_a_schedule_at_its_start_middle_end_and_after(schedule: Callable[[int], float], values: dict[int, float]):
    assert {step: schedule(step) for step in values} == pytest.approx(values)


@given(start=st.floats(-10, 10), end=st.floats(-10, 10), steps=st.integers(1, 50), step=st.integers(0, 100))
def test_schedules_stay_between_start_and_end_and_move_one_way(start: float, end: float, steps: int, step: int):
    for schedule in (Linear(start, end, steps), Cosine(start, end, steps)):
        low, high = min(start, end) - 1e-9, max(start, end) + 1e-9
        assert low <= schedule(step) <= high
        change = schedule(step + 1) - schedule(step)
        assert change * (end - start) >= -1e-9


def test_the_cosine_is_antisymmetric_about_its_middle():
    schedule = Cosine(3.0, 1.0, steps=10)
    for step in range(6):
        assert schedule(5 - step) + schedule(5 + step) == pytest.approx(4.0)


def test_schedules_have_no_state():
    schedule = Cosine(1.0, 0.0, steps=10, warmup=2)
    expected = [schedule(step) for step in range(12)]
    assert [schedule(step) for step in reversed(range(12))] == expected[::-1]


def test_as_schedule_keeps_a_schedule():
    schedule = WarmUp(1.0, steps=2)
    assert as_schedule(schedule) is schedule
    assert as_schedule("2.5")(7) == 2.5  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "make", [lambda steps: Linear(0, 1, steps), lambda steps: Cosine(0, 1, steps), lambda steps: WarmUp(1, steps)]
)
@pytest.mark.parametrize("steps", [0, -3])
def test_a_schedule_without_steps_is_refused(make: Callable[[int], object], steps: int):
    with pytest.raises(ValueError, match=f"at least 1 step, got {steps}"):
        make(steps)


@pytest.mark.parametrize("warmup", [-1, 10, 11])
def test_a_warm_up_that_does_not_end_is_refused(warmup: int):
    with pytest.raises(ValueError, match=rf"less than steps = 10, got {warmup}"):
        Cosine(1, 0, steps=10, warmup=warmup)
