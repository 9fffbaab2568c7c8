import re

from shared.domain.keys import GROUP_PREFIX, is_well_formed, key_hash, new_key


def test_a_key_can_be_told_by_its_form():
    assert re.fullmatch(r"sk_[0-9A-Za-z]{43}[0-9A-Za-z]{6}", new_key())


def test_a_group_key_is_told_from_others_by_its_form():
    key = new_key(GROUP_PREFIX)
    assert re.fullmatch(r"gk_[0-9A-Za-z]{43}[0-9A-Za-z]{6}", key)
    assert is_well_formed(key, GROUP_PREFIX)
    assert not is_well_formed(key)
    assert not is_well_formed(new_key(), GROUP_PREFIX)


def test_no_two_keys_are_alike():
    assert len({new_key() for _ in range(1000)}) == 1000


def test_a_fresh_key_is_well_formed_and_one_with_a_typo_is_not():
    key = new_key()
    assert is_well_formed(key)
    for position in range(len(key)):
        typo = key[:position] + ("x" if key[position] != "x" else "y") + key[position + 1 :]
        assert not is_well_formed(typo)


def test_what_is_not_a_key_at_all_is_not_well_formed():
    assert not any(map(is_well_formed, ["", "sk_", "sk_abc", "Bearer", "\x00", "ü" * 52]))


def test_the_stored_hash_depends_on_key_and_pepper():
    assert key_hash("sk_a", b"p") != key_hash("sk_b", b"p")
    assert key_hash("sk_a", b"p") != key_hash("sk_a", b"q")
    assert key_hash("sk_a", b"p") == key_hash("sk_a", b"p")
