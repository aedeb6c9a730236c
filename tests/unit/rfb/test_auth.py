"""VNC authentication."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from gateway.rfb import vnc_response, vnc_response_matches


def mirrored(data: bytes) -> bytes:
    return bytes(int(f"{byte:08b}"[::-1], 2) for byte in data)


class VncResponseTests(SynchronousTestCase):
    def test_is_des_with_mirrored_key_bytes(self) -> None:
        # A published DES example: this key turns this block into that one.
        password = mirrored(bytes.fromhex("133457799BBCDFF1"))
        block, answer = bytes.fromhex("0123456789ABCDEF"), bytes.fromhex("85E813540F0AB405")
        self.assertEqual(vnc_response(block * 2, password), answer * 2)

    def test_only_eight_characters_count(self) -> None:
        challenge = bytes(range(16))
        self.assertEqual(vnc_response(challenge, "12345678"), vnc_response(challenge, "123456789"))
        self.assertNotEqual(vnc_response(challenge, "12345678"), vnc_response(challenge, "1234567"))

    def test_short_passwords_are_filled_with_zeros(self) -> None:
        challenge = bytes(range(16))
        self.assertEqual(vnc_response(challenge, "ab"), vnc_response(challenge, b"ab\0\0\0\0\0\0"))
        self.assertEqual(len(vnc_response(challenge, "")), 16)

    def test_text_is_latin_1(self) -> None:
        challenge = bytes(16)
        self.assertEqual(vnc_response(challenge, "p\xe4ss"), vnc_response(challenge, b"p\xe4ss"))

    def test_other_text_is_refused_without_showing_it(self) -> None:
        error = self.assertRaises(ValueError, vnc_response, bytes(16), "geheim\u20ac")
        self.assertNotIn("geheim", str(error))
        self.assertIsNone(error.__cause__)
        self.assertTrue(error.__suppress_context__)

    def test_challenge_of_another_length_is_refused(self) -> None:
        for size in (0, 8, 15, 17):
            self.assertRaises(ValueError, vnc_response, bytes(size), "x")

    def test_matches(self) -> None:
        challenge = bytes(range(16))
        response = vnc_response(challenge, "secret")
        self.assertTrue(vnc_response_matches(challenge, "secret", response))
        self.assertFalse(vnc_response_matches(challenge, "Secret", response))
        self.assertFalse(vnc_response_matches(challenge, "secret", response[:15]))
        self.assertFalse(vnc_response_matches(challenge, "secret", b""))
