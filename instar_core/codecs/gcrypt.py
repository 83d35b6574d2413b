"""Serpent and Twofish by libgcrypt, a C library that most Linux systems have; it is called through ctypes.

`cipher` gives objects whose methods work on whole blocks. The library is loaded at the first call.
"""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError, NotInstalled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LIBRARY = "libgcrypt.so.20"
DISABLE_SECURE_MEMORY, INITIALIZATION_FINISHED = 37, 38
"""GCRYCTL_DISABLE_SECMEM, GCRYCTL_INITIALIZATION_FINISHED: a worker has no memory that could be locked."""

ALGORITHMS = {
    ("serpent", 16): 304,
    ("serpent", 24): 305,
    ("serpent", 32): 306,
    ("twofish", 16): 303,
    ("twofish", 32): 10,
}
"""The library's numbers by cipher and bytes of key. Of Twofish it has no variant of 192 bits."""

ECB, CBC = 1, 3


class Cipher:
    """A cipher with its key in one mode. Its methods take whole blocks and give as many."""

    __slots__ = ("_char", "_handle", "_library")

    def __init__(self, name: str, key: bytes, mode: int) -> None:
        number = ALGORITHMS.get((name, len(key)))
        if number is None:
            raise FormatError(f"No {name} cipher with key size {len(key)} available", kind=ErrorKind.UNSUPPORTED)
        import ctypes

        self._char = ctypes.c_char
        self._library = _library()
        self._handle = ctypes.c_void_p()
        self._check(self._library.gcry_cipher_open(ctypes.byref(self._handle), number, mode, 0))
        self._check(self._library.gcry_cipher_setkey(self._handle, key, len(key)))

    def __del__(self) -> None:
        """The library wipes the key."""
        if getattr(self, "_handle", None):
            self._library.gcry_cipher_close(self._handle)

    def encrypt(self, data: bytes | bytearray | memoryview) -> bytearray:
        """The blocks encrypted."""
        return self._run(self._library.gcry_cipher_encrypt, data)

    def decrypt(self, data: bytes | bytearray | memoryview) -> bytearray:
        """The blocks decrypted."""
        return self._run(self._library.gcry_cipher_decrypt, data)

    def vector(self, vector: bytes) -> None:
        """The next blocks are chained to this vector."""
        self._check(self._library.gcry_cipher_setiv(self._handle, vector, len(vector)))

    def _run(self, function: Any, data: bytes | bytearray | memoryview) -> bytearray:
        room = bytearray(data)
        if room:
            place = (self._char * len(room)).from_buffer(room)
            self._check(function(self._handle, place, len(room), None, 0))
        return room

    @staticmethod
    def _check(code: int) -> None:
        if code & 0xFFFF:
            raise FormatError(f"libgcrypt failed with error {code & 0xFFFF}", kind=ErrorKind.UNSUPPORTED)


def _library() -> Any:
    """The library, initialised: which it takes any number of times."""
    import ctypes

    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError as error:
        raise NotInstalled(
            f"the ciphers Serpent and Twofish need the library {LIBRARY}", hint="install libgcrypt"
        ) from error
    size, pointer, text, number = ctypes.c_size_t, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    library.gcry_check_version.argtypes = [text]
    library.gcry_check_version.restype = text
    library.gcry_cipher_open.argtypes = [ctypes.POINTER(pointer), number, number, ctypes.c_uint]
    library.gcry_cipher_close.argtypes = [pointer]
    library.gcry_cipher_close.restype = None
    library.gcry_cipher_setkey.argtypes = [pointer, text, size]
    library.gcry_cipher_setiv.argtypes = [pointer, text, size]
    for function in (library.gcry_cipher_encrypt, library.gcry_cipher_decrypt):
        function.argtypes = [pointer, pointer, size, pointer, size]
        function.restype = ctypes.c_uint
    library.gcry_check_version(None)
    library.gcry_control(DISABLE_SECURE_MEMORY, 0)
    library.gcry_control(INITIALIZATION_FINISHED, 0)
    return library
