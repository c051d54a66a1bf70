"""What a sender counts of itself."""

from fleetcast.engine.counters import LATENESS_BOUNDS, Lateness, SenderCounters


def test_each_bound_counts_what_was_at_most_so_late() -> None:
    lateness = Lateness()
    for seconds in (0.0, 0.005, 0.006, 0.2, 1_000.0):
        lateness.note(seconds)
    found = lateness.figures()
    assert found["lateness:0.005"] == 2
    assert found["lateness:0.01"] == 3
    assert found["lateness:0.25"] == 4
    assert found["lateness:60.0"] == 4
    assert found["lateness:+Inf"] == 5
    assert found["lateness_sum"] == 1_000.211
    counts = [found[f"lateness:{bound}"] for bound in (*LATENESS_BOUNDS, "+Inf")]
    assert counts == sorted(counts)


def test_the_names_are_those_of_its_counters() -> None:
    counters = SenderCounters(claims=7, claim_commits=2, claims_resumed=1)
    found = counters.figures()
    assert (found["claims"], found["claim_commits"], found["resumes:claims"]) == (7, 2, 1)
