"""RSA keys and a certificate for benches and tests, made on the spot: none lies in the repository.

    key = rsa_key(1024, generator)
    key.pem, key.dkim_record             # PKCS#1; the TXT record under which a verifier finds it
    certificate(key)                     # PEM, self-signed, for localhost and 127.0.0.1

Never for real mail: the numbers come from a seeded generator.
"""

from __future__ import annotations

import base64
import hashlib
import random
from dataclasses import dataclass

SMALL = [p for p in range(3, 2000, 2) if all(p % q for q in range(3, int(p**0.5) + 1, 2))]
EXPONENT = 65537
_RSA = bytes.fromhex("300d06092a864886f70d0101010500")
_SHA256_RSA = bytes.fromhex("300d06092a864886f70d01010b0500")
_SHA256 = bytes.fromhex("3031300d060960864801650304020105000420")


@dataclass(frozen=True)
class RsaKey:
    """Two primes, and all that follows from them."""

    p: int
    q: int

    @property
    def modulus(self) -> int:
        """n."""
        return self.p * self.q

    @property
    def private(self) -> int:
        """d."""
        return pow(EXPONENT, -1, (self.p - 1) * (self.q - 1))

    @property
    def pem(self) -> bytes:
        """The private key (PKCS#1)."""
        d, p, q = self.private, self.p, self.q
        numbers = (0, self.modulus, EXPONENT, d, p, q, d % (p - 1), d % (q - 1), pow(q, -1, p))
        return pem("RSA PRIVATE KEY", _sequence(*(_integer(number) for number in numbers)))

    @property
    def public(self) -> bytes:
        """The public key (SubjectPublicKeyInfo)."""
        return _sequence(_RSA, _bits(_sequence(_integer(self.modulus), _integer(EXPONENT))))

    @property
    def dkim_record(self) -> bytes:
        """The TXT record of SELECTOR._domainkey.DOMAIN."""
        return b"v=DKIM1; k=rsa; p=" + base64.b64encode(self.public)

    def signature(self, content: bytes) -> bytes:
        """RSASSA-PKCS1-v1_5 with SHA-256."""
        size = (self.modulus.bit_length() + 7) // 8
        tail = _SHA256 + hashlib.sha256(content).digest()
        padded = b"\x00\x01" + b"\xff" * (size - len(tail) - 3) + b"\x00" + tail
        return pow(int.from_bytes(padded), self.private, self.modulus).to_bytes(size)


def rsa_key(bits: int, generator: random.Random) -> RsaKey:
    """A key of so many bits."""
    return RsaKey(_prime(bits // 2, generator), _prime(bits - bits // 2, generator))


def certificate(key: RsaKey) -> bytes:
    """A certificate of localhost that vouches for itself, valid to 2049."""
    name = _sequence(_tlv(0x31, _sequence(bytes.fromhex("0603550403"), _tlv(0x0C, b"localhost"))))
    key_id = hashlib.sha1(key.public, usedforsecurity=False).digest()
    alternatives = _sequence(_tlv(0x82, b"localhost"), _tlv(0x87, bytes((127, 0, 0, 1))))
    extensions = _sequence(
        _extension("0603551d13", _sequence(b"\x01\x01\xff"), critical=True),
        _extension("0603551d0f", bytes.fromhex("03020284"), critical=True),
        _extension("0603551d11", alternatives),
        _extension("0603551d0e", _tlv(0x04, key_id)),
        _extension("0603551d23", _sequence(_tlv(0x80, key_id))),
    )
    valid = _sequence(_tlv(0x17, b"200101000000Z"), _tlv(0x17, b"491231235959Z"))
    body = _sequence(
        _tlv(0xA0, _integer(2)), _integer(1), _SHA256_RSA, name, valid, name, key.public, _tlv(0xA3, extensions)
    )
    return pem("CERTIFICATE", _sequence(body, _SHA256_RSA, _bits(key.signature(body))))


def pem(kind: str, der: bytes) -> bytes:
    """The bytes in PEM."""
    text = base64.encodebytes(der).replace(b"\n", b"")
    lines = b"\n".join(text[start : start + 64] for start in range(0, len(text), 64))
    return f"-----BEGIN {kind}-----\n".encode() + lines + f"\n-----END {kind}-----\n".encode()


def _prime(bits: int, generator: random.Random) -> int:
    while True:
        number = generator.getrandbits(bits) | (3 << bits - 2) | 1
        if (
            all(number % small for small in SMALL)
            and (number - 1) % EXPONENT
            and all(_passes(number, generator.randrange(2, number - 1)) for _ in range(16))
        ):
            return number


def _passes(number: int, base: int) -> bool:
    """Miller and Rabin's test."""
    twos = (number - 1 & 1 - number).bit_length() - 1
    found = pow(base, (number - 1) >> twos, number)
    if found in (1, number - 1):
        return True
    for _ in range(twos - 1):
        found = found * found % number
        if found == number - 1:
            return True
    return False


def _tlv(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 128:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes((tag, 0x80 | len(length))) + length + content


def _sequence(*parts: bytes) -> bytes:
    return _tlv(0x30, b"".join(parts))


def _integer(number: int) -> bytes:
    return _tlv(0x02, number.to_bytes(number.bit_length() // 8 + 1))


def _bits(content: bytes) -> bytes:
    return _tlv(0x03, b"\x00" + content)


def _extension(oid: str, content: bytes, *, critical: bool = False) -> bytes:
    return _sequence(bytes.fromhex(oid), b"\x01\x01\xff" if critical else b"", _tlv(0x04, content))
