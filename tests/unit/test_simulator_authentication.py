"""The answers of high-level authentication; GMAC and the challenges are the example of the DLMS UA Green Book."""

from __future__ import annotations

import hashlib

import pytest

from simulator.meter.acse import Mechanism
from simulator.meter.authentication import Challenges, new_challenge
from simulator.meter.client_access import ClientAccess, client_access

ENCRYPTION_KEY, AUTHENTICATION_KEY = bytes(range(16)), bytes(range(0xD0, 0xE0))
CLIENT_TITLE, SERVER_TITLE = bytes.fromhex("4D4D4D0000000001"), bytes.fromhex("4D4D4D0000BC614E")
FROM_CLIENT, FROM_SERVER = b"K56iVagY", b"P6wRJ21F"
SECRET = b"secret of sixty!"


def challenges(mechanism: Mechanism, suite: int = 0) -> Challenges:
    keys = (b"", b"") if mechanism != Mechanism.HIGH_GMAC else (ENCRYPTION_KEY, AUTHENTICATION_KEY)
    access = ClientAccess(mechanism, SECRET, suite=suite, block_cipher_key=keys[0], authentication_key=keys[1])
    return Challenges(access, FROM_CLIENT, FROM_SERVER, CLIENT_TITLE, SERVER_TITLE)


def test_gmac() -> None:
    answers = challenges(Mechanism.HIGH_GMAC)
    assert answers.is_answered_by(bytes.fromhex("10000000011A52FE7DD3E72748973C1E28"))
    assert answers.answer(0x01234567) == bytes.fromhex("1001234567FE1466AFB3DBCD4F9389E2B7")


@pytest.mark.parametrize(
    "answer",
    [
        "10000000011A52FE7DD3E72748973C1E29",
        "10000000021A52FE7DD3E72748973C1E28",
        "30000000011A52FE7DD3E72748973C1E28",
        "1001234567FE1466AFB3DBCD4F9389E2B7",
        "1000000001",
        "",
    ],
)
def test_a_wrong_gmac_is_refused(answer: str) -> None:
    assert not challenges(Mechanism.HIGH_GMAC).is_answered_by(bytes.fromhex(answer))


@pytest.mark.parametrize(
    ("mechanism", "from_client", "from_server"),
    [
        (Mechanism.HIGH_MD5, hashlib.md5(FROM_SERVER + SECRET).digest(), hashlib.md5(FROM_CLIENT + SECRET).digest()),
        (Mechanism.HIGH_SHA1, hashlib.sha1(FROM_SERVER + SECRET).digest(), hashlib.sha1(FROM_CLIENT + SECRET).digest()),
        (
            Mechanism.HIGH_SHA256,
            hashlib.sha256(SECRET + CLIENT_TITLE + SERVER_TITLE + FROM_SERVER + FROM_CLIENT).digest(),
            hashlib.sha256(SECRET + SERVER_TITLE + CLIENT_TITLE + FROM_CLIENT + FROM_SERVER).digest(),
        ),
    ],
)
def test_digests(mechanism: Mechanism, from_client: bytes, from_server: bytes) -> None:
    answers = challenges(mechanism)
    assert answers.is_answered_by(from_client)
    assert answers.answer(0) == from_server
    assert not answers.is_answered_by(from_server)
    assert not answers.is_answered_by(from_client[:-1])


def test_manufacturer_specific_is_aes_of_the_challenge() -> None:
    key, block = bytes.fromhex("000102030405060708090A0B0C0D0E0F"), bytes.fromhex("00112233445566778899AABBCCDDEEFF")
    ciphered = bytes.fromhex("69C4E0D86A7B0430D8CDB78070B4C55A")  # FIPS 197, appendix C.1
    answers = Challenges(ClientAccess(Mechanism.HIGH, key), block, block, b"", b"")
    assert answers.answer(0) == ciphered
    assert answers.is_answered_by(ciphered)


def test_challenges_differ() -> None:
    assert len({new_challenge() for _ in range(100)}) == 100


def test_client_access_in_the_words_of_settings() -> None:
    access = client_access("high-gmac", b"", 0, "authenticated-encryption", ENCRYPTION_KEY, AUTHENTICATION_KEY, CLIENT_TITLE)
    assert (access.mechanism, access.policy, access.ciphered, access.system_title) == (Mechanism.HIGH_GMAC, 0x30, True, CLIENT_TITLE)
    assert client_access("low", b"geheim") == ClientAccess(Mechanism.LOW, b"geheim")
    assert "geheim" not in repr(client_access("low", b"geheim"))
    assert "\\x01\\x02" not in repr(access)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"authentication": "high-ecdsa"}, "'high-ecdsa' is not known; possible are none, low, high"),
        ({"security_policy": "both"}, "'both' is not known; possible are none, authentication, encryption"),
        ({"security_suite": 3}, "suite 3 is not known"),
        ({"authentication": "high-gmac"}, "need block_cipher_key and authentication_key"),
        ({"security_policy": "encryption"}, "need block_cipher_key and authentication_key"),
        ({"block_cipher_key": ENCRYPTION_KEY}, "one of them is missing"),
        ({"block_cipher_key": ENCRYPTION_KEY, "authentication_key": AUTHENTICATION_KEY, "security_suite": 2}, "has 16 bytes.*takes 32"),
        ({"client_system_title": b"short"}, "a system title has 8 bytes, not 5"),
    ],
)
def test_what_does_not_fit_is_refused(words: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        client_access(**words)  # type: ignore[arg-type]
