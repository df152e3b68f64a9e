"""The hash of an application's secret: one round, since 128 random characters cannot be guessed however fast one tries.

Passwords get the slow one that stands first in PASSWORD_HASHERS. An application shows its secret for every token.
"""

from django.contrib.auth.hashers import PBKDF2PasswordHasher


class ClientSecretHasher(PBKDF2PasswordHasher):
    algorithm = "client_secret"
    iterations = 1
