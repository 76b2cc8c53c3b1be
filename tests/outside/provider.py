"""A small identity provider: real HTTP, real RSA signatures, and no code of the product or its libraries."""

import base64
import hashlib
import json
import secrets
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

AUDIENCE = "sora-ledger"


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def number(value: int) -> str:
    return encoded(value.to_bytes((value.bit_length() + 7) // 8, "big"))


class Provider:
    """The provider; a context manager. `answers` counts how often its keys were fetched."""

    def __init__(self) -> None:
        self.keys = {"one": rsa.generate_private_key(65537, 2048)}
        self.answers = 0
        self.is_down = False
        self.secret: str | None = None
        self.signs_in: dict[str, Any] | None = {}
        """The claims of the person at the provider's page; None refuses."""
        self.codes: dict[str, dict[str, str]] = {}
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path.startswith("/authorize?"):
                    self.send_response(303)
                    self.send_header("location", provider.authorize(self.path.partition("?")[2]))
                    self.send_header("content-length", "0")
                    self.end_headers()
                    return
                documents = {
                    "/.well-known/openid-configuration": {
                        "issuer": provider.issuer,
                        "jwks_uri": f"{provider.issuer}/keys",
                        "authorization_endpoint": f"{provider.issuer}/authorize",
                        "token_endpoint": f"{provider.issuer}/token",
                    },
                    "/keys": {"keys": provider.published()},
                }
                provider.answers += self.path == "/keys"
                body = json.dumps(documents.get(self.path, {})).encode()
                self.send_response(503 if provider.is_down else 200 if self.path in documents else 404)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self) -> None:
                form = dict(parse_qsl(self.rfile.read(int(self.headers["content-length"])).decode()))
                answer = provider.exchange(form) if self.path == "/token" else None
                body = json.dumps(answer or {"error": "invalid_grant"}).encode()
                self.send_response(200 if answer else 400)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.issuer = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def published(self) -> list[dict[str, str]]:
        """Return the public keys as a key set has them."""
        numbers = {kid: key.public_key().public_numbers() for kid, key in self.keys.items()}
        return [
            {"kty": "RSA", "use": "sig", "kid": kid, "n": number(each.n), "e": number(each.e)}
            for kid, each in numbers.items()
        ]

    def authorize(self, query: str) -> str:
        """Return where a browser is sent after the page of the provider, at which a person signed in."""
        query_ = dict(parse_qsl(query))
        back = {"state": query_["state"]}
        if (
            self.signs_in is None
            or query_["client_id"] != AUDIENCE
            or "openid" not in query_["scope"].split()
        ):
            back["error"] = "access_denied"
        else:
            back["code"] = secrets.token_urlsafe(16)
            self.codes[back["code"]] = query_
        return f"{query_['redirect_uri']}?{urlencode(back)}"

    def exchange(self, form: dict[str, str]) -> dict[str, str] | None:
        """Return the tokens for a code, once, to whoever has its verifier."""
        query_ = self.codes.pop(form.get("code", ""), None)
        digest = encoded(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
        if (
            query_ is None
            or query_["code_challenge_method"] != "S256"
            or query_["code_challenge"] != digest
            or query_["redirect_uri"] != form["redirect_uri"]
            or form.get("client_secret") != self.secret
        ):
            return None
        claims = {"nonce": query_["nonce"], **(self.signs_in or {})}
        return {"token_type": "Bearer", "access_token": "opaque", "id_token": self.token(**claims)}

    def token(self, *, kid: str = "one", alg: str = "RS256", key: Any = None, **claims: Any) -> str:
        """Return a signed token; a claim that is None is left out."""
        usual = {
            "iss": self.issuer,
            "aud": AUDIENCE,
            "sub": "1234",
            "email": "maria@example.org",
            "email_verified": True,
            "groups": ["leads"],
            "iat": int(time.time()),
            "exp": int(time.time()) + 300,
        }
        payload = {name: value for name, value in (usual | claims).items() if value is not None}
        parts = [encoded(json.dumps(part).encode()) for part in ({"alg": alg, "kid": kid}, payload)]
        text = ".".join(parts)
        if alg == "none":
            return f"{text}."
        signing = key or self.keys[kid]
        return f"{text}.{encoded(signing.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()))}"
