"""Wire form of voice biometrics users: user ids, parameters, the map of confidence, errors and events."""

import math
import uuid
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.dialects import voisentry
from shared.dialects.voisentry import Refused, SocketCode, confidence, handle_of, least_llr
from shared.domain.identities import is_handle
from shared.domain.verification import Comparison, OperatingPoint

LLRS = st.floats(-1e6, 1e6)
USER_IDS = st.from_regex(r"[A-Za-z0-9.-]{1,126}", fullmatch=True) | st.uuids().map(str)


@given(LLRS, LLRS)
def test_confidence_is_one_or_more_just_where_the_voice_is_verified(llr: float, least: float) -> None:
    assert (confidence(llr, least) >= 1.0) == (llr >= least)


@given(LLRS)
def test_the_floats_next_to_the_limit_are_told_apart(least: float) -> None:
    assert confidence(math.nextafter(least, -math.inf), least) == 0.99
    assert confidence(least, least) == 1.0


@given(LLRS, LLRS, LLRS)
def test_confidence_never_falls_as_the_ratio_grows(one: float, other: float, least: float) -> None:
    low, high = sorted((one, other))
    assert 0.0 <= confidence(low, least) <= confidence(high, least) <= 2.5


@given(LLRS, st.floats(-10, 10))
def test_confidence_has_two_digits(llr: float, sensitivity: float) -> None:
    found = confidence(llr, least_llr(sensitivity))
    assert found == round(found, 2)


@pytest.mark.parametrize(
    ("sensitivity", "point"), [(0, OperatingPoint.BALANCED), (10, OperatingPoint.STRICTEST)], ids=str
)
def test_sensitivities_are_operating_points(sensitivity: float, point: OperatingPoint) -> None:
    least = least_llr(sensitivity)
    for llr in (least - 0.01, least + 0.01):
        assert Comparison(score=0.5, llr=llr).accepted(point) == (llr > least)


def test_a_higher_sensitivity_asks_for_more() -> None:
    steps = [least_llr(step / 10) for step in range(-100, 101)]
    assert steps == sorted(steps)
    assert least_llr(-3.0) == -least_llr(3.0)


@given(USER_IDS, USER_IDS)
def test_two_users_never_share_a_handle(one: str, other: str) -> None:
    assert is_handle(handle_of(one))
    assert (handle_of(one) == handle_of(other)) == (one == other)


@pytest.mark.parametrize("user_id", [".bob", "-bob", str(uuid.UUID(int=7))])
def test_a_user_id_that_can_be_no_handle_gets_another(user_id: str) -> None:
    assert handle_of(user_id) == f"u+{user_id}"


@pytest.mark.parametrize("user_id", ["", "a b", "a_b", "a+b", "ü", "a" * 127, "a\n"])
def test_other_characters_are_refused(user_id: str) -> None:
    with pytest.raises(Refused) as caught:
        voisentry.user_id({"user_id": user_id})
    assert (caught.value.status, caught.value.code) == (400, "HTTP 400")


@pytest.mark.parametrize("text", ["11", "-10.01", "nan", "inf", "x", ""])
def test_a_sensitivity_out_of_range_is_refused_in_the_vendors_words(text: str) -> None:
    with pytest.raises(Refused) as caught:
        voisentry.sensitivity({"sensitivity": text})
    assert caught.value.told == f"Bad Request: Sensitivity must be from -10 to 10, received {text}."


@pytest.mark.parametrize(("text", "wanted"), [("true", True), ("TRUE", True), ("False", False), (None, True)])
def test_booleans_come_in_any_case(text: str | None, wanted: bool) -> None:
    given_text = {} if text is None else {"text_dependent": text}
    assert voisentry.boolean(given_text, "text_dependent", default=True) is wanted


def test_dates_are_in_utc() -> None:
    assert voisentry.date(datetime(2021, 1, 5, 8, 6, 4, tzinfo=UTC)) == "2021-01-05_08:06:04"


def test_an_error_has_the_keys_of_the_document_and_a_code_that_is_a_string() -> None:
    at = datetime(2021, 1, 15, 8, 56, 23, tzinfo=UTC)
    path = "/voice_biometrics/v1/user/register"
    assert voisentry.error(voisentry.already_present("Bob"), path, at, at) == {
        "error": {
            "code": "HTTP 400",
            "text": "Bad Request: user_id 'Bob' is already present",
            "link": "https://www.aculab.com/cloud/web-services/voice-biometrics/users"
            "?target=service_action_tabs&tab-id=register",
            "datetime": "2021-01-15_08:56:23",
        },
        "request": {"url": path, "datetime": "2021-01-15_08:56:23"},
    }


def test_a_reject_is_worded_as_the_document_does() -> None:
    assert voisentry.reject(voisentry.already_present("Bob"), "register") == {
        "event": "reject",
        "reason": "Bad Request",
        "message": "Bad API request, register: user_id Bob is already present.",
        "code": 50,
    }


def test_too_little_speech_has_the_code_of_the_engine() -> None:
    refused = Refused(400, voisentry.TOO_LITTLE_SPEECH, SocketCode.SPEECH, engine_code="422")
    assert (refused.code, refused.told) == ("422", voisentry.TOO_LITTLE_SPEECH)
    assert voisentry.reject(refused, "verify")["code"] == 52


def test_ids_have_the_form_of_the_document() -> None:
    job_id = "e1352c5a-44fe-11eb-91ba-021ae2cff027"
    assert voisentry.transaction_id(job_id) == "e1352c5a44fe11eb91ba021ae2cff027"
    assert voisentry.application_instance_id(job_id) == "vb-e1352c5a44fe11eb91ba.000001"
