"""Passphrase secrets, in the official CLI's format.

Key: PBKDF2-HMAC-SHA256, 1,000,000 rounds, 32 bytes, over an 8-byte salt. A value is
``v1:<base64 nonce>:<base64 AES-256-GCM>``. Format: pulumi/sdk/go/common/resource/config/crypt.go.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import os
import threading
from pathlib import Path
from typing import Any, Final

from engine.errors import SecretsError
from engine.values import SECRET_SIGNATURE, SIGNATURE, Secret, from_json, to_json

ROUNDS: Final = 1_000_000
CHECK_WORD: Final = "pulumi"


def read_passphrase() -> str | None:
    """Return the passphrase of the environment, or None where none is set.

    Raises:
        SecretsError: the file PULUMI_CONFIG_PASSPHRASE_FILE names cannot be read.
    """
    if "PULUMI_CONFIG_PASSPHRASE" in os.environ:
        return os.environ["PULUMI_CONFIG_PASSPHRASE"]
    file = os.environ.get("PULUMI_CONFIG_PASSPHRASE_FILE")
    if not file:
        return None
    try:
        return Path(file).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SecretsError(
            f"PULUMI_CONFIG_PASSPHRASE_FILE names {file}, which cannot be read ({error.strerror}): "
            "name a file this user can read"
        ) from None


class SecretsManager:
    """Encrypts and decrypts with one passphrase and salt; the key is derived in the background.

    Args:
        salt: the ``encryptionsalt`` of a stack, ``v1:<salt>:<check value>``.
        passphrase: the passphrase, or None to fail at the first use.
    """

    def __init__(self, salt: str, passphrase: str | None) -> None:
        self.salt = salt
        self._passphrase = passphrase
        self._key: bytes | None = None
        self._error: SecretsError | None = None
        self._cipher: Any = None
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._pipe: int | None = None  # where another process hands the key over

    @classmethod
    def create(cls, passphrase: str | None) -> SecretsManager:
        """Make a manager with a new salt.

        Raises:
            SecretsError: no passphrase is set.
        """
        if passphrase is None:
            raise SecretsError(_UNSET)
        raw = os.urandom(8)
        manager = cls("", passphrase)
        manager._key = derive(passphrase, raw)
        manager.salt = f"v1:{base64.b64encode(raw).decode()}:{manager.encrypt_text(CHECK_WORD)}"
        return manager

    def start(self, hand_on: int | None = None) -> None:
        """Begin deriving the key on another thread: it takes longer than the SDK's import.

        Args:
            hand_on: write it to this pipe as well, for a manager that :meth:`take` s it.
        """
        if hand_on is not None or (self._thread is None and self._key is None):
            # No daemon: a thread cut off inside the cryptographic library would abort the process.
            self._thread = threading.Thread(target=self._derive, args=(hand_on,), name="engine-key")
            self._thread.start()

    def take(self, pipe: int) -> None:
        """Take the key from another process's manager in place of deriving it here."""
        self._pipe = pipe

    def _derive(self, hand_on: int | None = None) -> None:
        try:
            self._key = self._key or self._handed_over() or self._checked_key()
        except SecretsError as error:
            self._error = error
        if hand_on is not None:
            with contextlib.suppress(BrokenPipeError), os.fdopen(hand_on, "wb") as pipe:
                pipe.write(self._key or b"")

    def _handed_over(self) -> bytes:
        if self._pipe is None:
            return b""
        with os.fdopen(self._pipe, "rb") as pipe:
            self._pipe = None
            return pipe.read()

    def _checked_key(self) -> bytes:
        if self._passphrase is None:
            raise SecretsError(_UNSET)
        version, _, rest = self.salt.partition(":")
        salt, separator, check = rest.partition(":")
        if version != "v1" or not separator:
            raise SecretsError("the stack's encryptionsalt is malformed: it must be v1:<salt>:<check value>")
        try:
            key = derive(self._passphrase, base64.b64decode(salt, validate=True))
            if _decrypt(key, check) == CHECK_WORD:
                return key
        except (SecretsError, binascii.Error):
            pass  # told below
        raise SecretsError(
            "incorrect passphrase: set PULUMI_CONFIG_PASSPHRASE (or PULUMI_CONFIG_PASSPHRASE_FILE) "
            "to the passphrase this stack was made with"
        )

    def wait(self) -> None:
        """Wait for the key where its derivation was begun.

        Raises:
            SecretsError: there is no passphrase, or a wrong one.
        """
        if self._thread is not None or self._pipe is not None:
            self.key()

    def key(self) -> bytes:
        """Return the key, waiting for it where needed.

        Raises:
            SecretsError: there is no passphrase, or a wrong one.
        """
        with self._lock:
            if self._thread is not None:
                self._thread.join()
            elif self._key is None and self._error is None:
                self._derive()
        if self._error is not None or self._key is None:
            raise self._error or SecretsError("the stack's key could not be derived")
        return self._key

    def _aes(self) -> Any:
        if self._cipher is None:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM

            self._cipher = AESGCM(self.key())
        return self._cipher

    def encrypt_text(self, text: str) -> str:
        """Encrypt a string."""
        nonce = os.urandom(12)
        sealed = self._aes().encrypt(nonce, text.encode(), None)
        return f"v1:{base64.b64encode(nonce).decode()}:{base64.b64encode(sealed).decode()}"

    def decrypt_text(self, ciphertext: str) -> str:
        """Decrypt a string.

        Raises:
            SecretsError: it was not encrypted with this key.
        """
        return _decrypt(self.key(), ciphertext, self._aes())

    def encrypt(self, secret: Secret) -> dict[str, Any]:
        """Return a secret's checkpoint form; an unchanged secret keeps its ciphertext."""
        if secret.ciphertext is None:
            secret.ciphertext = self.encrypt_text(_plain_secret(secret)["ciphertext"])
        return {SIGNATURE: SECRET_SIGNATURE, "ciphertext": secret.ciphertext}

    def decrypt(self, ciphertext: str) -> Any:
        """Return the value of a checkpoint's ciphertext."""
        return from_json(json.loads(self.decrypt_text(ciphertext)), _read_plain_secret)


def _plain_secret(secret: Secret) -> dict[str, Any]:
    """A secret inside a secret is not encrypted twice."""
    text = json.dumps(to_json(secret.value, _plain_secret), separators=(",", ":"), ensure_ascii=False)
    return {SIGNATURE: SECRET_SIGNATURE, "ciphertext": text}


def _read_plain_secret(text: str) -> Any:
    return from_json(json.loads(text), _read_plain_secret)


def derive(passphrase: str, salt: bytes) -> bytes:
    """Derive the 32-byte key."""
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

    # Twice as fast as hashlib's, and it lets other threads run meanwhile too.
    return PBKDF2HMAC(SHA256(), 32, salt, ROUNDS).derive(passphrase.encode())


def _decrypt(key: bytes, ciphertext: str, cipher: Any = None) -> str:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    version, _, rest = ciphertext.partition(":")
    nonce_text, _, sealed_text = rest.partition(":")
    try:
        nonce = base64.b64decode(nonce_text if version == "v1" else "?", validate=True)
        sealed = base64.b64decode(sealed_text, validate=True)
        opened: bytes = (cipher or AESGCM(key)).decrypt(nonce, sealed, None)
    except (ValueError, InvalidTag):
        raise SecretsError("a secret cannot be decrypted: it was encrypted with another key, or is damaged") from None
    return opened.decode()


_UNSET: Final = (
    "passphrase must be set with PULUMI_CONFIG_PASSPHRASE or PULUMI_CONFIG_PASSPHRASE_FILE environment variables"
)
