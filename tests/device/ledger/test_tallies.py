"""Tallies that are put together from what is left of them."""

from device.ledger.tallies import Amount, Counted, Tallies, Tally, most, with_older

CARD = Counted("paper", "sorted", "card")


def tallies(ever: int, today: int, since_emptied: int, day: str = "2026-03-02", emptied: str = "") -> Tallies:
    tally = Tally(Amount(ever), Amount(ever - today), Amount(ever - since_emptied))
    return Tallies({CARD: tally}, {"paper": emptied} if emptied else {}, day)


def seen(of: Tallies) -> tuple[int, int, int]:
    tally = of.rows[CARD]
    return tally.ever.n, tally.today.n, tally.since_emptied.n


def test_the_larger_count_is_right_where_events_are_missing() -> None:
    both = most(tallies(9, 4, 5), tallies(8, 5, 6))
    assert (seen(both), both.day) == ((9, 5, 6), "2026-03-02")


def test_a_day_that_is_over_says_nothing_of_the_present_one() -> None:
    yesterday, today = tallies(8, 7, 8, day="2026-03-01"), tallies(9, 1, 9)
    assert seen(most(yesterday, today)) == seen(most(today, yesterday)) == (9, 1, 9)


def test_what_was_counted_before_the_last_emptying_is_not_since_it() -> None:
    before, after = tallies(8, 3, 8, emptied="2026-03-01T10:00:00.000Z"), tallies(9, 3, 1, emptied="2026-03-02T10:00:00.000Z")
    assert seen(most(before, after)) == seen(most(after, before)) == (9, 3, 1)
    assert most(before, after).emptied == after.emptied


def test_older_totals_are_neither_of_today_nor_since_the_bin_was_emptied() -> None:
    older = with_older(tallies(9, 3, 1, emptied="2026-03-02T10:00:00.000Z"), {("paper", "sorted"): 100, ("glass", "jams"): 2})
    assert seen(older) == (9, 3, 1)
    rest = older.rows[Counted("paper", "sorted")]
    assert (rest.ever.n, rest.today.n, rest.since_emptied.n) == (91, 0, 0)
    jams = older.rows[Counted("glass", "jams")]
    assert (jams.ever.n, jams.today.n, jams.since_emptied.n) == (2, 0, 2)


def test_older_totals_below_what_is_counted_change_nothing() -> None:
    counted = tallies(9, 3, 1)
    assert with_older(counted, {("paper", "sorted"): 8}).rows == counted.rows
