"""Secrets that have to be kept: encrypted, with a key in a file that only oneadmin can read."""

from __future__ import annotations

import json
import os
from pathlib import Path

from one_iscsi.errors import SetupError
from one_iscsi.model import Chap, SealedChap

_OTHERS = 0o077


def new_key() -> str:
    """What a key file holds."""
    from cryptography.fernet import Fernet  # costs more than bare Python to import

    return Fernet.generate_key().decode()


class Key:
    """The key in the file ``path``; SetupError if there is none, or not only its owner can read it."""

    def __init__(self, path: Path) -> None:
        from cryptography.fernet import Fernet

        self._path = path
        try:
            with path.open("rb") as file:
                exposed = os.fstat(file.fileno()).st_mode & _OTHERS
                text = file.read(256)
        except FileNotFoundError:
            raise SetupError(
                f"the key {path} of the CHAP secrets is not there",
                "copy it from another front end or a backup; for a new one run `sudo ./install.sh`",
            ) from None
        except OSError as error:
            raise SetupError(
                f"the key {path} of the CHAP secrets cannot be read ({error.strerror})",
                f"chown oneadmin {path} and chmod 600 {path}",
            ) from None
        if exposed:
            raise SetupError(f"others may read or write the key {path} of the CHAP secrets", f"chmod 600 {path}")
        try:
            self._fernet = Fernet(text.strip())
        except ValueError:
            raise SetupError(
                f"{path} holds no key of CHAP secrets", "copy it from another front end or a backup"
            ) from None

    def seal(self, chap: Chap) -> SealedChap:
        """``chap`` as it can be kept."""
        secrets = json.dumps([chap.password, chap.target_password])
        return SealedChap(chap.user, chap.target_user, self._fernet.encrypt(secrets.encode()).decode())

    def unseal(self, sealed: SealedChap, volume_id: int) -> Chap:
        """The Chap that was sealed; SetupError if it was with another key."""
        from cryptography.fernet import InvalidToken

        try:
            secrets = self._fernet.decrypt(sealed.secrets.encode())
        except InvalidToken:
            raise SetupError(
                f"the CHAP secret of volume {volume_id} was not encrypted with the key {self._path}",
                "copy that from the front end where the secret was given; if it is lost, onevolume chap --remove",
            ) from None
        password, target_password = json.loads(secrets)
        return Chap(sealed.user, password, sealed.target_user, target_password)
