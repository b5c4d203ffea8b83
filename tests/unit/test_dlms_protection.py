"""AES-GCM protection of APDUs: known answers, the library as a second opinion, and everything that must be refused."""

from __future__ import annotations

import importlib

import pytest
from gurux_dlms import AesGcmParameter, GXByteBuffer, GXCiphering, GXDLMSChippering
from gurux_dlms.enums import Security
from gurux_dlms.GXDLMSChipperingStream import GXDLMSChipperingStream
from gurux_dlms.objects.enums import SecuritySuite
from hypothesis import given
from hypothesis import strategies as st

from connectors.dlms.apdu import gurux_seam
from connectors.dlms.security import gcm
from connectors.dlms.security.protection import (
    HIGHEST_COUNTER,
    Keys,
    NotAuthentic,
    Policy,
    Suite,
    nonce,
    protect,
    read_header,
    unprotect,
)
from connectors.dlms.security.tags import PROTECTED_BY, KeySet
from model.messages import Violation

chippering = importlib.import_module("gurux_dlms.GXDLMSChippering")

# IEC 62056-5-3, the worked example of clause 5.3: keys, system title, counter and a GET of the clock's attribute 2.
EXAMPLE = Keys(Suite.SUITE_0, bytes.fromhex("000102030405060708090A0B0C0D0E0F"), bytes.fromhex("D0D1D2D3D4D5D6D7D8D9DADBDCDDDEDF"))
TITLE = bytes.fromhex("4D4D4D0000BC614E")
COUNTER = 0x01234567
GET = bytes.fromhex("C0010000080000010000FF0200")
GLO_GET = {
    Policy.AUTHENTICATION: "C81E1001234567C0010000080000010000FF020006725D910F9221D263877516",
    Policy.ENCRYPTION: "C8122001234567411312FF935A47566827C467BC",
    Policy.AUTHENTICATED_ENCRYPTION: "C81E3001234567411312FF935A47566827C467BC7D825C3BE4A77C3FCC056B6B",
}
POLICIES = tuple(GLO_GET)
KEYS = {suite: Keys(suite, bytes(range(suite.key_size)), bytes(range(100, 100 + suite.key_size))) for suite in Suite}

apdus = st.binary(max_size=300).map(lambda rest: b"\xc4" + rest)
titles = st.binary(min_size=8, max_size=8)
counters = st.integers(0, HIGHEST_COUNTER)


def violation(apdu: bytes, keys: Keys = EXAMPLE, policy: Policy = Policy.AUTHENTICATED_ENCRYPTION, above: int | None = None) -> Violation:
    with pytest.raises(NotAuthentic) as refused:
        unprotect(apdu, keys, policy, TITLE, above)
    return refused.value.violation


@pytest.mark.parametrize("policy", POLICIES)
def test_the_example_of_the_standard(policy: Policy) -> None:
    protected = protect(GET, EXAMPLE, policy, TITLE, COUNTER)
    assert protected == bytes.fromhex(GLO_GET[policy])
    opened = unprotect(protected, EXAMPLE, policy, TITLE, None)
    assert (opened.apdu, opened.counter, opened.policy) == (GET, COUNTER, policy)


@pytest.mark.parametrize(
    ("title", "counter", "challenge", "tag"),
    [
        ("4D4D4D0000000001", 1, b"P6wRJ21F", "1A52FE7DD3E72748973C1E28"),
        ("4D4D4D0000BC614E", 0x01234567, b"K56iVagY", "FE1466AFB3DBCD4F9389E2B7"),
    ],
)
def test_the_example_of_the_standard_for_gmac(title: str, counter: int, challenge: bytes, tag: str) -> None:
    """HLS mechanism 5, first the client's and then the server's answer."""
    associated = b"\x10" + EXAMPLE.authentication + challenge
    assert gcm.tag_of(EXAMPLE.encryption, nonce(bytes.fromhex(title), counter), associated).hex().upper() == tag


@given(apdu=apdus, title=titles, counter=counters, suite=st.sampled_from(Suite), policy=st.sampled_from(POLICIES))
@pytest.mark.parametrize("key_set", KeySet)
@pytest.mark.parametrize("general", [False, True])
def test_what_is_protected_comes_out_again(
    apdu: bytes, title: bytes, counter: int, suite: Suite, policy: Policy, key_set: KeySet, general: bool
) -> None:
    protected = protect(apdu, KEYS[suite], policy, title, counter, key_set, general)
    opened = unprotect(protected, KEYS[suite], policy, title, counter - 1)
    assert (opened.apdu, opened.counter, opened.title, opened.keys) == (apdu, counter, title, key_set)


@given(apdu=apdus, title=titles, counter=counters, policy=st.sampled_from(POLICIES), suite=st.sampled_from(Suite))
@pytest.mark.parametrize("cipher", ["gurux", "cryptography"])
@pytest.mark.parametrize("tag", [0xCC, 0xDB])
def test_the_library_protects_in_the_same_way(
    apdu: bytes, title: bytes, counter: int, policy: Policy, suite: Suite, tag: int, cipher: str
) -> None:
    """As it is by itself, and through the seam."""
    keys = KEYS[suite]
    if cipher == "gurux":
        chippering.GXDLMSChipperingStream = GXDLMSChipperingStream
    else:
        gurux_seam.install()
    parameter = AesGcmParameter(tag, title, keys.encryption, keys.authentication)
    parameter.security, parameter.securitySuite = Security(int(policy)), SecuritySuite(suite)
    parameter.invocationCounter = counter
    theirs = bytes(GXCiphering.encrypt(parameter, apdu))
    assert theirs == protect(apdu, keys, policy, title, counter, general=tag == 0xDB)


def by_the_library(protected: bytes) -> bytes:
    gurux_seam.install()
    parameter = AesGcmParameter(0, TITLE, EXAMPLE.encryption, EXAMPLE.authentication)
    client = GXCiphering(bytearray(TITLE))
    settings = type("Settings", (), {"cipher": client})
    return bytes(GXCiphering.decrypt(settings, parameter, GXByteBuffer(protected)))


@pytest.mark.parametrize("policy", POLICIES)
def test_the_library_deciphers_through_our_cipher(policy: Policy, capsys: pytest.CaptureFixture[str]) -> None:
    assert by_the_library(bytes.fromhex(GLO_GET[policy])) == GET


def test_the_seam_is_where_it_was() -> None:
    """The one place of the library that is replaced; a new version of the library must be looked at again."""
    assert chippering.__dict__["GXDLMSChipperingStream"].__module__ in (gurux_seam.__name__, "gurux_dlms.GXDLMSChipperingStream")
    assert GXDLMSChippering is chippering.GXDLMSChippering
    names = GXDLMSChippering.encryptAesGcm.__code__.co_names, GXDLMSChippering.decryptAesGcm.__code__.co_names
    assert all("GXDLMSChipperingStream" in found for found in names)


@pytest.mark.parametrize("position", range(7, 32))
def test_the_library_refuses_a_wrong_tag_through_the_seam(position: int) -> None:
    """Fails when a version of the library no longer takes its cipher from where it is replaced."""
    flipped = bytearray.fromhex(GLO_GET[Policy.AUTHENTICATED_ENCRYPTION])
    flipped[position] ^= 1
    with pytest.raises(ValueError, match="authentication tag is wrong"):
        by_the_library(bytes(flipped))


@given(bit=st.integers(0, 8 * 32 - 1))
@pytest.mark.parametrize("policy", [Policy.AUTHENTICATION, Policy.AUTHENTICATED_ENCRYPTION])
def test_not_one_bit_can_be_changed(policy: Policy, bit: int) -> None:
    flipped = bytearray.fromhex(GLO_GET[policy])
    flipped[bit // 8] ^= 1 << bit % 8
    violation(bytes(flipped), policy=policy)


@given(data=st.binary(max_size=80))
def test_no_bytes_make_it_raise_anything_else(data: bytes) -> None:
    for start in (b"", b"\xcc", b"\xdb", b"\xdb\x08ABCDEFGH", b"\xcc\x20\x30"):
        with pytest.raises(NotAuthentic):
            unprotect(start + data, EXAMPLE, Policy.AUTHENTICATED_ENCRYPTION, TITLE, None)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(
    "keys",
    [Keys(Suite.SUITE_0, bytes(16), EXAMPLE.authentication), Keys(Suite.SUITE_0, EXAMPLE.encryption, bytes(16))],
    ids=["encryption", "authentication"],
)
def test_other_keys_do_not_fit(policy: Policy, keys: Keys) -> None:
    if policy == Policy.ENCRYPTION:
        return  # nothing tells: this is what the policy lacks
    assert violation(bytes.fromhex(GLO_GET[policy]), keys, policy) is Violation.WRONG_TAG


@pytest.mark.parametrize("above", [COUNTER, COUNTER + 1, HIGHEST_COUNTER])
def test_an_old_counter_is_refused(above: int) -> None:
    assert violation(bytes.fromhex(GLO_GET[Policy.AUTHENTICATED_ENCRYPTION]), above=above) is Violation.OLD_COUNTER


def test_a_forgery_with_an_old_counter_is_called_a_forgery() -> None:
    forged = bytearray.fromhex(GLO_GET[Policy.AUTHENTICATED_ENCRYPTION])
    forged[-1] ^= 1
    assert violation(bytes(forged), above=HIGHEST_COUNTER) is Violation.WRONG_TAG


@pytest.mark.parametrize(
    ("sent", "due"),
    [
        (Policy.AUTHENTICATION, Policy.AUTHENTICATED_ENCRYPTION),
        (Policy.ENCRYPTION, Policy.AUTHENTICATED_ENCRYPTION),
        (Policy.ENCRYPTION, Policy.AUTHENTICATION),
        (Policy.AUTHENTICATION, Policy.ENCRYPTION),
    ],
)
def test_less_protection_than_the_policy_asks_for_is_refused(sent: Policy, due: Policy) -> None:
    assert violation(bytes.fromhex(GLO_GET[sent]), policy=due) is Violation.WEAKER_PROTECTION


@pytest.mark.parametrize("due", [Policy.AUTHENTICATION, Policy.ENCRYPTION])
def test_more_protection_is_welcome(due: Policy) -> None:
    protected = bytes.fromhex(GLO_GET[Policy.AUTHENTICATED_ENCRYPTION])
    assert unprotect(protected, EXAMPLE, due, TITLE, None).apdu == GET


def test_another_suite_is_refused() -> None:
    protected = protect(GET, KEYS[Suite.SUITE_1], Policy.AUTHENTICATED_ENCRYPTION, TITLE, 1)
    assert violation(protected, KEYS[Suite.SUITE_0]) is Violation.WEAKER_PROTECTION


def test_another_sender_is_refused() -> None:
    protected = protect(GET, EXAMPLE, Policy.AUTHENTICATED_ENCRYPTION, b"STRANGER", 1, general=True)
    assert violation(protected) is Violation.FOREIGN_TITLE
    # Without a stated title the sender still is in the nonce.
    protected = protect(GET, EXAMPLE, Policy.AUTHENTICATED_ENCRYPTION, b"STRANGER", 1)
    assert violation(protected) is Violation.WRONG_TAG


def test_general_ciphering_without_a_title_is_of_the_expected_sender() -> None:
    protected = protect(GET, EXAMPLE, Policy.AUTHENTICATED_ENCRYPTION, TITLE, 1, general=True, with_title=False)
    assert protected[:2] == b"\xdb\x00"
    assert unprotect(protected, EXAMPLE, Policy.AUTHENTICATED_ENCRYPTION, TITLE, 0).apdu == GET


@pytest.mark.parametrize("apdu", [GET, b"\xc4\x01\xc1\x00\x11\x05", b"\x0f\x00\x00\x00\x00", b"\xd8\x01\x01"])
def test_plaintext_is_refused(apdu: bytes) -> None:
    assert violation(apdu) is Violation.PLAINTEXT


@pytest.mark.parametrize(("bit", "words"), [(0x40, "broadcast"), (0x80, "compress")])
def test_broadcast_keys_and_compression_are_refused_with_their_name(bit: int, words: str) -> None:
    protected = bytearray.fromhex(GLO_GET[Policy.AUTHENTICATED_ENCRYPTION])
    protected[2] |= bit
    with pytest.raises(NotAuthentic, match=words) as refused:
        read_header(bytes(protected))
    assert refused.value.violation is Violation.MALFORMED


@pytest.mark.parametrize("tag", [0xDD, 0xDF])
def test_other_kinds_of_protection_are_refused(tag: int) -> None:
    with pytest.raises(NotAuthentic, match="not supported"):
        read_header(bytes([tag, 8]) + bytes(30))


def test_contents_of_another_service_are_refused() -> None:
    """A GET-response under the tag of a SET-response: authentic, but not what it says it is."""
    protected = bytearray(protect(b"\xc4\x01\xc1\x00\x11\x05", EXAMPLE, Policy.AUTHENTICATED_ENCRYPTION, TITLE, 1))
    protected[0] = 0xCD
    assert violation(bytes(protected)) is Violation.MALFORMED


def test_tags_are_those_of_the_standard() -> None:
    """IEC 62056-5-3 table of APDU tags: glo- and ded-initiate, read, get, set, event-notification, action."""
    glo, ded = KeySet.GLOBAL, KeySet.DEDICATED
    known = {0x21: (glo, 0x01), 0x28: (glo, 0x08), 0x25: (glo, 0x05), 0x2C: (glo, 0x0C), 0x2E: (glo, 0x0E), 0x38: (glo, 0x18)}
    known |= {0xC8: (glo, 0xC0), 0xCB: (glo, 0xC3), 0xCC: (glo, 0xC4), 0xCF: (glo, 0xC7), 0xCA: (glo, 0xC2)}
    known |= {0x45: (ded, 0x05), 0x4C: (ded, 0x0C), 0x4E: (ded, 0x0E), 0xD0: (ded, 0xC0), 0xD4: (ded, 0xC4), 0xD7: (ded, 0xC7)}
    assert known.items() <= PROTECTED_BY.items()


@pytest.mark.parametrize("suite", Suite)
@pytest.mark.parametrize("size", [0, 15, 17, 24, 33])
def test_keys_of_a_wrong_length_are_refused(suite: Suite, size: int) -> None:
    with pytest.raises(ValueError, match="keys of"):
        Keys(suite, bytes(size), bytes(suite.key_size))


def test_keys_are_never_shown() -> None:
    keys = Keys(Suite.SUITE_0, b"E" * 16, b"A" * 16)
    assert "EEEE" not in repr(keys) and "AAAA" not in repr(keys)
