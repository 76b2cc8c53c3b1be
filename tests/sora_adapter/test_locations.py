"""Where a server may lead a download."""

import pytest

from sora_adapter.untrusted import is_same_origin, resolve_url

PUBLIC, HERE = "https://videos.example.com/v1", "http://127.0.0.1:8000/v1"


@pytest.mark.parametrize(
    ("base_url", "url", "expected"),
    [
        (PUBLIC, "https://cdn.example.net/a.mp4?sig=1", "https://cdn.example.net/a.mp4?sig=1"),
        (PUBLIC, "/files/a.mp4", "https://videos.example.com/files/a.mp4"),
        (PUBLIC, "http://cdn.example.net/a.mp4", None),
        (PUBLIC, "file:///etc/passwd", None),
        (PUBLIC, "ftp://cdn.example.net/a.mp4", None),
        (PUBLIC, "https://user:secret@cdn.example.net/a.mp4", None),
        (PUBLIC, "https://169.254.169.254/latest/meta-data", None),
        (PUBLIC, "https://127.0.0.1/a.mp4", None),
        (PUBLIC, "https://[::1]/a.mp4", None),
        (PUBLIC, "https://localhost/a.mp4", None),
        (PUBLIC, "https://[half", None),
        (PUBLIC, "https://cdn.example.net/a\r\nb", None),
        (PUBLIC, "https://cdn.example.net/" + "a" * 8_192, None),
        (HERE, "http://127.0.0.1:9000/a.mp4", "http://127.0.0.1:9000/a.mp4"),
        (HERE, "https://cdn.example.net/a.mp4", "https://cdn.example.net/a.mp4"),
    ],
)
def test_an_address_is_followed_where_a_server_may_lead(
    base_url: str, url: str, expected: str | None
) -> None:
    assert resolve_url(base_url, url) == expected


def test_an_origin_is_scheme_host_and_port() -> None:
    assert is_same_origin("https://host/v1", "https://host:443/files")
    assert not is_same_origin("https://host/v1", "https://host:8443/files")
    assert not is_same_origin("http://host:443/v1", "https://host/files")
    assert not is_same_origin("https://host/v1", "https://other/files")
