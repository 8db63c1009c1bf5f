"""How far a hint reaches."""

import torch

from colorizer.reach import described_by, spread, ways

ONE = slice(0, 1)


def halves(height: int = 8, width: int = 12, step: float = 40) -> torch.Tensor:
    """Lightness (h, w) that is 30 on the left and `step` more on the right."""
    lightness = torch.full((height, width), 30.0)
    lightness[:, width // 2 :] += step
    return lightness


def hint(row: int, column: int) -> tuple[slice, slice]:
    return slice(row, row + 1), slice(column, column + 1)


def spread_over(lightness: torch.Tensor, patches: list, colors: list, reaches: list, expected=None) -> torch.Tensor:
    expected = torch.zeros(1, *lightness.shape) if expected is None else expected
    return spread(patches, torch.tensor(colors), reaches, lightness, expected)


def test_a_way_is_as_far_as_its_farthest_place():
    unlike = torch.tensor([[0.0, 0.1, 0.9, 0.2], [5.0, 0.3, 5.0, 0.2], [5.0, 0.3, 0.4, 0.2]])
    far = ways(unlike, ONE, ONE)
    expected = torch.tensor([[0.0, 0.1, 0.9, 0.4], [5.0, 0.3, 5.0, 0.4], [5.0, 0.3, 0.4, 0.4]])
    assert torch.allclose(far, expected)  # not over the place of 0.9, but around it
    assert unlike[0, 0] == 0 and unlike[0, 1] == 0.1, "what was given is left as it was"


def test_a_color_fills_the_thing_and_stops_at_its_edge():
    filled = spread_over(halves(), [hint(3, 2)], [[10.0, 20.0]], [0.5])
    assert torch.allclose(filled[:, :, :6], torch.tensor([10.0, 20.0, 1.0])[:, None, None].expand(3, 8, 6))
    assert not filled[:, :, 6:].any()


def test_a_slow_change_of_light_belongs_to_a_thing_until_it_is_another_light():
    lightness = torch.linspace(20, 80, 61).expand(5, 61)
    share = spread_over(lightness, [hint(2, 30)], [[10.0, 20.0]], [0.5])[2, 2]
    assert share[20:41].eq(1).sum() > 10 and share[0] == share[-1] == 0
    assert torch.equal(share, share.flip(0))


def test_what_is_alike_but_lies_apart_keeps_its_color():
    lightness = halves(8, 12)
    lightness[:, 9:] = 30  # as the left half, behind a stripe
    share = spread_over(lightness, [hint(3, 2)], [[10.0, 20.0]], [0.5])[2]
    assert share[:, :6].eq(1).all() and not share[:, 6:].any()


def test_places_of_one_lightness_are_told_apart_by_what_is_expected_of_them():
    lightness = torch.full((8, 12), 50.0)
    logits = torch.zeros(1, 3, 8, 12)
    logits[0, 0, :, :6] = logits[0, 1, :, 6:] = 8
    share = spread_over(lightness, [hint(3, 2)], [[10.0, 20.0]], [0.5], described_by(logits, True))[2]
    assert share[:, :6].eq(1).all() and not share[:, 6:].any()
    ab = torch.zeros(1, 2, 8, 12)
    ab[:, 1, :, 6:] = 60
    share = spread_over(lightness, [hint(3, 2)], [[10.0, 20.0]], [0.5], described_by(ab, False))[2]
    assert share[:, :6].eq(1).all() and not share[:, 6:].any()


def test_the_further_the_reach_the_more_it_fills_and_none_fills_nothing():
    lightness = torch.linspace(20, 80, 61).expand(5, 61)
    patch = [(slice(1, 4), slice(29, 32))]
    shares = [spread_over(lightness, patch, [[10.0, 20.0]], [step / 10])[2] for step in range(11)]
    sums = [share.sum().item() for share in shares]
    assert sums == sorted(sums) and sums[0] == 0 and sums[3] < sums[6] < sums[10]
    assert all(share[1:4, 29:32].eq(1).all() for share in shares[1:])


def test_where_two_hints_reach_the_nearer_counts_more_and_each_keeps_its_patch():
    lightness = torch.full((9, 41), 50.0)
    filled = spread_over(lightness, [hint(4, 5), hint(4, 35)], [[40.0, 0.0], [-40.0, 0.0]], [0.5, 0.5])
    a, share = filled[0], filled[2]
    assert share.eq(1).all()
    assert a[4, 5] > 39.9 and a[4, 35] < -39.9
    assert a[:, :15].gt(20).all() and a[:, 26:].lt(-20).all()
    assert a[4, 20].abs() < 1e-3
    row = a[4, 5:36]
    assert (row[1:] <= row[:-1]).all()


def test_a_hint_that_reaches_nowhere_is_left_to_the_network_by_the_others():
    """And what lies beside its patch, which may be a single place: a click near its edge is enlarged from both."""
    lightness = torch.full((9, 21), 50.0)
    filled = spread_over(lightness, [hint(4, 3), hint(4, 15)], [[40.0, 0.0], [-40.0, 0.0]], [1.0, 0.0])
    around = torch.zeros(9, 21, dtype=torch.bool)
    around[3:6, 14:17] = True
    assert not filled[:, around].any() and (filled[2] == ~around).all() and filled[0, ~around].eq(40).all()


def test_a_patch_is_its_own_hints_also_where_another_is_nearer():
    """And where two patches meet, the later one's."""
    lightness = torch.full((9, 30), 50.0)
    wide = slice(0, 9), slice(0, 20)
    colors = [[40.0, 0.0], [-40.0, 0.0]]
    filled = spread_over(lightness, [wide, hint(4, 22)], colors, [0.5, 0.5])
    assert filled[0, :, :20].eq(40).all() and filled[0, 4, 22] == -40 and filled[0, 4, 21:24].eq(-40).all()
    for patches, a in (([wide, hint(4, 5)], -40), ([hint(4, 5), wide], 40)):
        assert spread_over(lightness, patches, colors[:: 1 if a < 0 else -1], [0.5, 0.5])[0, 4, 5] == a
