"""Which tokens are believed: signature, algorithm, issuer, audience, and their times against a clock that may be off."""

import base64
import hmac
from datetime import UTC, datetime, timedelta

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from proxy.identity import EXPIRED_TOKEN, Named
from proxy.oidc.rules import Rules, claim, named
from proxy.oidc.token import check, is_token, key_id
from proxy.ports import Refusal

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
LEEWAY = timedelta(seconds=60)
RULES = Rules("https://idp", ("a", "b"), ("RS256", "ES256"), "tenant", "groups", "sub", None, "allow", LEEWAY)
KEY, OTHER, CURVE = rsa.generate_private_key(65537, 2048), rsa.generate_private_key(65537, 2048), ec.SECP256R1()
EC_KEY = ec.generate_private_key(CURVE)
PUBLIC = jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key(), as_dict=True)
EC_PUBLIC = jwt.algorithms.ECAlgorithm.to_jwk(EC_KEY.public_key(), as_dict=True)
ENDS = NOW + timedelta(minutes=5)


def made(key=KEY, algorithm="RS256", **changes):
    claims = {"iss": "https://idp", "aud": "a", "exp": ENDS.timestamp(), "tenant": "acme", "sub": "me"} | changes
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(claims, key, algorithm=algorithm, headers={"kid": "k"})


def verdict(token, key=PUBLIC, now=NOW, rules=RULES):
    found = check(token, key, rules, now)
    return found.message if isinstance(found, Refusal) else found


def part(value):
    return base64.urlsafe_b64encode(msgspec.json.encode(value)).rstrip(b"=").decode()


def test_a_good_token_names_its_tenant_and_user():
    assert verdict(made()) == Named("acme", (), "me", ENDS + LEEWAY)
    assert verdict(made(aud=["other", "b"])) == Named("acme", (), "me", ENDS + LEEWAY)
    assert verdict(made(EC_KEY, "ES256"), EC_PUBLIC).tenant == "acme"
    assert key_id(made()) == "k"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"aud": "c"}, "aud"),
        ({"aud": ["c"]}, "aud"),
        ({"aud": None}, "missing"),
        ({"aud": {"a": 1}}, "aud"),
        ({"iss": "https://idp/"}, "iss"),
        ({"iss": None}, "missing"),
        ({"exp": None}, "missing"),
        ({"exp": "tomorrow"}, "read"),
        ({"exp": True}, "read"),
        ({"exp": 1e300}, "read"),
        ({"exp": -1}, "read"),
        ({"nbf": "now"}, "read"),
        ({"tenant": None}, "names no tenant"),
        ({"tenant": 7}, "names no tenant"),
        ({"tenant": "x" * 201}, "names no tenant"),
    ],
)
def test_what_is_not_for_us_is_refused(changes, words):
    assert words in verdict(made(**changes))


def test_a_token_ends_when_it_says_give_or_take_the_leeway():
    last = ENDS + LEEWAY
    assert isinstance(verdict(made(), now=last - timedelta(seconds=1)), Named)
    assert verdict(made(), now=last) == EXPIRED_TOKEN.message
    assert verdict(made(exp=0), now=NOW) == EXPIRED_TOKEN.message


def test_a_token_begins_when_it_says_give_or_take_the_leeway():
    begins = NOW + timedelta(minutes=2)
    early = made(nbf=begins.timestamp())
    assert "not come yet" in verdict(early, now=begins - LEEWAY - timedelta(seconds=1))
    assert isinstance(verdict(early, now=begins - LEEWAY), Named)


def test_another_key_does_not_fit():
    assert "signature" in verdict(made(OTHER))
    assert "signature" in verdict(made(), EC_PUBLIC)
    assert "signature" in verdict(made(EC_KEY, "ES256"), PUBLIC)


def test_no_token_chooses_how_it_is_checked():
    claims = {"iss": "https://idp", "aud": "a", "exp": ENDS.timestamp(), "tenant": "acme"}
    head, body = part({"alg": "none"}), part(claims)
    assert "algorithm" in verdict(f"{head}.{body}.")
    pem = KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    signed = f"{part({'alg': 'HS256'})}.{body}"
    for secret in (pem, msgspec.json.encode(PUBLIC), PUBLIC["n"].encode()):
        signature = base64.urlsafe_b64encode(hmac.digest(secret, signed.encode(), "sha256")).rstrip(b"=").decode()
        assert "algorithm" in verdict(f"{signed}.{signature}")
    assert "algorithm" in verdict(made(algorithm="RS512"))
    assert "algorithm" in verdict(made(), PUBLIC | {"alg": "PS256"})


def test_a_changed_claim_breaks_the_signature():
    head, body, signature = made().split(".")
    claims = msgspec.json.decode(base64.urlsafe_b64decode(body + "=="))
    assert "signature" in verdict(f"{head}.{part(claims | {'tenant': 'other'})}.{signature}")


def test_a_short_key_is_no_key():
    weak = rsa.generate_private_key(65537, 1024)
    with pytest.warns(UserWarning, match="below"):
        token = jwt.encode({"iss": "https://idp", "aud": "a", "exp": ENDS.timestamp()}, weak, algorithm="RS256")
    assert "signature" in verdict(token, jwt.algorithms.RSAAlgorithm.to_jwk(weak.public_key(), as_dict=True))


@given(st.binary(max_size=80), st.binary(max_size=40), st.dictionaries(st.text(max_size=4), st.integers(), max_size=3))
def test_no_bytes_are_more_than_refused(junk, signature, head):
    texts = [junk, part(head).encode() + b"." + junk + b"." + signature, made().encode()[:-4] + junk]
    for text in texts:
        kid = key_id(text.decode("latin-1"))
        if not isinstance(kid, Refusal):
            assert isinstance(check(text.decode("latin-1"), PUBLIC, RULES, NOW), Refusal)


def test_what_looks_like_a_token():
    assert is_token(made().encode())
    assert not is_token(b"wb_live_x.y.z")
    assert not is_token(b"eyJhbGciOiJkaXIifQ.a.b.c.d")  # encrypted: five parts


def test_claims_are_found_by_name_and_by_way():
    claims = {"a": {"b": ["x", 3, "", "y"]}, "https://x.y/team": "t", "sub": "s", "tenant": ["ten_1"]}
    assert claim(claims, "a.b") == ["x", 3, "", "y"]
    assert claim(claims, "https://x.y/team") == "t"
    assert claim(claims, "a.c") is claim(claims, "sub.x") is None
    rules = msgspec.structs.replace(RULES, team_claim="a.b", tenant="fallback", unknown_users="deny")
    assert named(claims, rules, NOW) == Named("ten_1", ("x", "y"), "s", NOW, user_required=True)
    found = named({}, rules, NOW)
    assert found is not None
    assert (found.tenant, found.user) == ("fallback", None)
