"""Signatures, against the vector the standard-webhooks libraries are tested with."""

from sora_adapter.serving.signatures import hint_of, new_secret, sign_headers

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
DELIVERY = ("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_signature_is_that_of_the_standard() -> None:
    assert sign_headers(*DELIVERY, [SECRET])["webhook-signature"] == SIGNATURE


def test_two_valid_secrets_give_two_signatures() -> None:
    first, second = sign_headers(*DELIVERY, [new_secret(), SECRET])["webhook-signature"].split()
    assert (first != SIGNATURE, second) == (True, SIGNATURE)


def test_a_hint_does_not_give_a_secret_away() -> None:
    assert hint_of(SECRET) == "whsec_...LaSw"


def test_every_secret_is_another() -> None:
    assert len({new_secret() for _ in range(100)}) == 100
