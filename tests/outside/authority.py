"""A time-stamping authority for tests: ``openssl ts`` behind an HTTP server, with certificates made here.

`Authority.lie` changes what it answers; `Authority.root` is the certificate by which it is believed.
"""

import subprocess
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CONFIGURATION = """
[tsa]
default_tsa = this
[this]
serial = serial
signer_cert = signer.pem
signer_key = signer.key
certs = signer.pem
default_policy = 1.2.3.4.1
digests = sha256
signer_digest = sha256
"""


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _signs_only() -> x509.KeyUsage:
    others = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    no = dict.fromkeys((*others, "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"), False)
    return x509.KeyUsage(digital_signature=True, **no)


class Authority:
    """A running authority; a context manager."""

    def __init__(self, folder: Path, *, valid_days: int = 365) -> None:
        folder.mkdir()
        self.folder = folder
        self.lie = ""
        self.root = folder / "root.pem"
        self._certify(valid_days)
        (folder / "tsa.cnf").write_text(CONFIGURATION)
        (folder / "serial").write_text("01\n")
        authority = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                query = self.rfile.read(int(self.headers["Content-Length"]))
                status, data = authority.answer(query)
                with suppress(OSError):  # the client has given up
                    self.send_response(status)
                    self.send_header("Content-Type", "application/timestamp-reply")
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/tsr"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _certify(self, valid_days: int) -> None:
        now = datetime.now(UTC)
        root, signer = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        issuer = _name("Clock root")

        def issue(
            subject: x509.Name, key: ec.EllipticCurvePublicKey, until: datetime
        ) -> x509.CertificateBuilder:
            builder = x509.CertificateBuilder().issuer_name(issuer).subject_name(subject).public_key(key)
            serial = x509.random_serial_number()
            begins = now - timedelta(days=30)
            return builder.serial_number(serial).not_valid_before(begins).not_valid_after(until)

        of_root = issue(issuer, root.public_key(), now + timedelta(days=999)).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        of_signer = issue(
            _name("clock.example"), signer.public_key(), now + timedelta(days=valid_days)
        ).add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), critical=True)
        of_signer = of_signer.add_extension(_signs_only(), critical=True).add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(root.public_key()), critical=False
        )
        self.root.write_bytes(of_root.sign(root, hashes.SHA256()).public_bytes(Encoding.PEM))
        signed = of_signer.sign(root, hashes.SHA256())
        (self.folder / "signer.pem").write_bytes(signed.public_bytes(Encoding.PEM))
        secret = signer.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (self.folder / "signer.key").write_bytes(secret)

    def answer(self, query: bytes) -> tuple[int, bytes]:
        """Return the status and the timestamp for a query, or what `lie` says instead."""
        if self.lie == "status":
            return 503, b""
        if self.lie == "garbage":
            return 200, b"<html>a proxy</html>"
        if self.lie == "endless":
            return 200, bytes(1 << 20)
        if self.lie == "slow":
            time.sleep(1)
        (self.folder / "query").write_bytes(query)
        if self.lie == "digest":
            self._openssl("-query", "-digest", "ab" * 32, "-sha256", "-cert", "-out", "query")
        if self.lie == "nonce":
            text = self._openssl("-query", "-in", "query", "-text")
            digest = "".join(
                part for line in text.splitlines() if " - " in line for part in line[10:58].split()
            )
            self._openssl("-query", "-digest", digest.replace("-", ""), "-sha256", "-cert", "-out", "query")
        if self.lie == "refuse":
            self._openssl("-query", "-digest", "ab" * 64, "-sha512", "-out", "query")
        self._openssl("-reply", "-config", "tsa.cnf", "-queryfile", "query", "-out", "answer")
        return 200, (self.folder / "answer").read_bytes()

    def _openssl(self, *arguments: str) -> str:
        command = ["openssl", "ts", *arguments]
        ran = subprocess.run(command, cwd=self.folder, check=True, capture_output=True, text=True)
        return ran.stdout
