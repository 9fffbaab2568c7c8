import pytest

from shared.domain.audio import Channels, Track


@pytest.mark.parametrize(
    ("oddity", "sentence"),
    [
        ({"lost_s": 2.345}, "The file is damaged or cut off: 2.3 s of its sound could not be read."),
        ({"lost_s": 0.03}, "The file is damaged or cut off: less than 0.1 s of its sound could not be read."),
        ({"lost_s": 9.2e18}, "The file is damaged or cut off: most of its sound could not be read."),
        ({"unread_bytes": 70_000}, "70000 bytes of the file were not read"),
        ({"named_less": True}, "more sound than its header names"),
        ({"clock_broken": True}, "The times in the file are broken"),
        ({"two_people": True}, "The channels hold different people"),
        ({"two_people": True}, '`channel: "each"`'),
        (
            {"channels": Channels(number=3, used=(1,)), "voices": (0, 2)},
            "Nothing but silence or noise is on channel 1; there is sound on channels 0 and 2.",
        ),
    ],
)
def test_a_track_says_what_is_odd_about_it(oddity, sentence):
    assert Track(duration_s=8.0).warning is None
    assert sentence in Track(duration_s=8.0, **oddity).warning


@pytest.mark.parametrize("voices", [(), (0,), (0, 1)])
def test_a_channel_that_is_heard_is_not_called_silent_where_no_other_one_is_better(voices):
    assert Track(duration_s=8.0, channels=Channels(number=2, used=(0,)), voices=voices).warning is None


def test_several_oddities_are_all_told():
    told = Track(duration_s=8.0, lost_s=1.0, clock_broken=True).warning
    assert "1.0 s of its sound" in told and "times in the file" in told
